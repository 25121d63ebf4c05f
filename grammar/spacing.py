"""Blanks between the tokens of a line, for the formatter.

Most follow from the two tokens. Where one spelling has several meanings (`-x` and `a - x`, `f (x)` and
`by (x)`, `f(x=1)` and `x = 1`) the tree decides: one walk over it collects the offsets of the tokens
that stand close to a neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from te.grammar import tree
from te.grammar.words import Words

# How strongly a two-sided operator binds; a long line breaks before the loosest.
STRENGTH: Final = {
    **{"or": 1, "and": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3},
    **{"|": 4, "^": 5, "&": 6, "<<": 7, ">>": 7, "+": 8, "-": 8, "*": 9, "/": 9, "//": 9, "%": 9, "**": 10},
}

INDEX_FIELDS: Final = frozenset({"index", "axes", "where", "dims"})


class Spacing:
    """Where blanks go, and which tokens are two-sided operators, all by position."""

    def __init__(self, words: Words, file: tree.File) -> None:
        self.words = words
        self.close_before: set[int] = set()
        """Positions of tokens with no blank before them."""
        self.close_after: set[int] = set()
        self.strength: dict[int, int] = {}
        """The two-sided operators, and how strongly they bind."""
        self.conditions: set[int] = set()
        """The `where` of reductions."""
        for node, is_index, is_term in _walk(file):
            self._note(node, is_index, is_term)

    def has_blank(self, position: int) -> bool:
        """Whether a blank stands before a token that does not begin a line."""
        before, after = self.words.tokens[position - 1].text, self.words.tokens[position].text
        return not (
            after in (",", ")", "]", "}", ":", ".")
            or before in ("(", "[", "{", ".")
            or position in self.close_before
            or position - 1 in self.close_after
        )

    def is_loose(self, position: int) -> bool:
        """Whether a line may well begin with a token: behind a comma, with an operator, `where` or `else`."""
        return (
            self.words.tokens[position - 1].text == ","
            or self.words.tokens[position].text == "else"
            or position in self.conditions
            or (position in self.strength and position not in self.close_before)
        )

    # ------------------------------------------------------------ what the tree says

    def _note(self, node: object, is_index: bool, is_term: bool) -> None:
        at = self.words.at
        match node:
            case tree.Call():
                self.close_before.add(self._behind(node.name))
            case tree.Read():
                self.close_before.add(self._behind(node.name))
            case tree.Reduce():
                bracket = self._behind(node.name)
                self.close_before |= {bracket, self.words.partner[bracket] + 1}
                if node.where is not None:
                    self.conditions.add(self._before(node.where, "where"))
            case tree.Type(dims=tuple()):
                self.close_before.add(at(node.span.start) + 1)
            case tree.Target(index=tuple()):
                self.close_before.add(at(node.span.start) + 1)
            case tree.Argument(name=str()):
                self._close(at(node.span.start) + 1)
            case tree.Unary() if node.op != "not":
                self.close_after.add(at(node.span.start))
            case tree.Pack():
                self.close_after.add(at(node.span.start))
            case tree.Binary():
                position = at(node.op_span.start)
                self.strength[position] = STRENGTH[node.op]
                if is_index and is_term and _is_product(node):
                    self._close(position)
            case tree.Compare():
                for op, operand in zip(node.ops, node.operands[1:], strict=True):
                    self.strength[self._before(operand, op)] = STRENGTH[op]
            case tree.Op() | tree.Reducer():
                self._note_head(node)

    def _note_head(self, item: tree.Op | tree.Reducer) -> None:
        position = self.words.at(item.name_span.start) + 1
        if item.generics:
            self._close(position)
            end = self.words.find(">", self.words.at(item.generics[-1].span.start))
            self.close_before.add(end)
            position = end + 1
        self.close_before.add(position)

    def _close(self, position: int) -> None:
        self.close_before.add(position)
        self.close_after.add(position)

    def _behind(self, name: tree.Name) -> int:
        """The position of the token after a name."""
        return self.words.behind(name.span.end)

    def _before(self, operand: tree.Expr, word: str) -> int:
        """The position of a word before an operand; only opening parentheses stand between."""
        position = self.words.at(operand.span.start) - 1
        while self.words.tokens[position].text != word:
            position -= 1
        return position


def _is_product(node: tree.Expr) -> bool:
    """`2*y`, `y*stride`, `dilation*(S - 1)`: a product that is written close as a term of an index."""
    match node:
        case tree.Binary(op="*", left=left, right=right):
            return _is_factor(left) and _is_factor(right)
    return False


def _is_factor(node: tree.Expr) -> bool:
    match node:
        case tree.Name() | tree.Number() | tree.Binary(op="+" | "-"):
            return True
    return _is_product(node)


def _walk(file: tree.File) -> Iterator[tuple[Any, bool, bool]]:
    """Every node, whether it stands in an index or a shape, and whether it is a term of a sum."""
    stack: list[tuple[Any, bool, bool]] = [(item, False, False) for item in file.items]
    while stack:
        node, is_index, is_term = stack.pop()
        if isinstance(node, tuple):
            stack += [(part, is_index, is_term) for part in node if not isinstance(part, str)]
            continue
        yield node, is_index, is_term
        is_sum = isinstance(node, tree.Binary) and (
            node.op in ("+", "-") or (is_term and node.op == "*" and _is_product(node))
        )
        for name in _children(type(node)):
            child = getattr(node, name)
            if isinstance(child, tuple) or hasattr(child, "span"):
                stack.append((child, is_index or name in INDEX_FIELDS, is_sum))


_CHILDREN: Final[dict[type[Any], Sequence[str]]] = {}


def _children(kind: type[Any]) -> Sequence[str]:
    """The fields of a kind of node that may hold nodes."""
    if kind not in _CHILDREN:
        _CHILDREN[kind] = [name for name in kind.__slots__ if not name.endswith("span")]
    return _CHILDREN[kind]
