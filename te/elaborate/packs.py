"""Packs: `*S` in a type and `*s` in an index stand for any number of axes.

Once the ranks are known, a pack is written out: `X: f32[*S, N]` with two axes for
`S` becomes `X: f32[S1, S2, N]`, and `X[*s, j]` becomes `X[s1, s2, j]`. The rest of
the elaborator never meets a pack. How many axes an index pack has follows from the
tensors that it indexes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from te.diagnostics import Diagnostics, Span, error
from te.elaborate.syntax import map_expression, names_of_op, walk_syntax
from te.grammar import tree


def pack_names(op: tree.Op) -> tuple[str, ...]:
    """The packs in the types of an op's inputs, in order: those that the call decides."""
    dims = [d for p in op.params if p.kind != "const" for d in p.type.dims or ()]
    return tuple(dict.fromkeys(d.name for d in dims if isinstance(d, tree.Pack)))


def has_packs(op: tree.Op) -> bool:
    types = [p.type for p in op.params] + [r.type for r in op.results]
    if any(isinstance(d, tree.Pack) for t in types for d in t.dims or ()):
        return True
    return any(isinstance(n, tree.Pack) for s in op.body for n in _statement_nodes(s))


def _statement_nodes(statement: tree.Statement) -> list[tree.Expr | tree.Axis]:
    if isinstance(statement, tree.Require):
        return list(walk_syntax(statement.condition))
    axes = [i for t in statement.targets for i in t.index or ()]
    return [*axes, *walk_syntax(statement.value)]


def expand_packs(op: tree.Op, ranks: Mapping[str, int], diagnostics: Diagnostics) -> tree.Op:
    """The op with every pack written out. `ranks` says how many axes each pack of the inputs has.

    An index pack whose rank nothing says is an error, recorded in `diagnostics`.
    """
    if not has_packs(op):
        return op
    return _Expansion(op, ranks, diagnostics).expanded()


class _Expansion:
    def __init__(self, op: tree.Op, ranks: Mapping[str, int], diagnostics: Diagnostics):
        self.op = op
        self.ranks = dict(ranks)
        self.diagnostics = diagnostics
        self.taken = names_of_op(op)
        self.written: dict[tuple[str, int], tuple[str, ...]] = {}
        self.tensor_ranks = {p.name: self._rank_of_type(p.type) for p in op.params if p.kind != "const"}
        self.tensor_ranks |= {r.name: self._rank_of_type(r.type) for r in op.results}

    def expanded(self) -> tree.Op:
        self._find_tensor_ranks()
        return replace(
            self.op,
            params=tuple(replace(p, type=self._type(p.type)) for p in self.op.params),
            results=tuple(replace(r, type=self._type(r.type)) for r in self.op.results),
            body=tuple(self._statement(s) for s in self.op.body),
        )

    # ------------------------------------------------------------ how many axes

    def _rank_of_type(self, type_: tree.Type) -> int:
        return sum(self.ranks.get(d.name, 0) if isinstance(d, tree.Pack) else 1 for d in type_.dims or ())

    def _find_tensor_ranks(self) -> None:
        """Ranks of intermediates, as far as they follow; equations may stand in any order."""
        equations = [s for s in self.op.body if isinstance(s, tree.Equation)]
        for _ in equations:
            before = len(self.tensor_ranks)
            for equation in equations:
                packs = self._index_packs(equation)
                for target in equation.targets:
                    if target.name in self.tensor_ranks or target.index is None:
                        continue
                    names = [i.name for i in target.index if isinstance(i, tree.Pack)]
                    if all(n in packs for n in names):
                        plain = len(target.index) - len(names)
                        self.tensor_ranks[target.name] = plain + sum(packs[n] for n in names)
            if len(self.tensor_ranks) == before:
                return

    def _index_packs(self, equation: tree.Equation) -> dict[str, int]:
        """The rank of each index pack of an equation, from the tensors that it indexes."""
        found: dict[str, int] = {}
        places: list[tuple[str, tuple[tree.Axis, ...]]] = [
            (t.name, t.index) for t in equation.targets if t.index is not None
        ]
        places += [(n.name.name, n.index) for n in walk_syntax(equation.value) if isinstance(n, tree.Read)]
        for tensor, index in places:
            packs = [i.name for i in index if isinstance(i, tree.Pack)]
            if len(packs) == 1 and tensor in self.tensor_ranks:
                rank = self.tensor_ranks[tensor] - (len(index) - 1)
                if rank >= 0:
                    found.setdefault(packs[0], rank)
        return found

    # ------------------------------------------------------------ writing out

    def _names(self, pack: str, rank: int) -> tuple[str, ...]:
        """`S1, S2` for a pack `S` of two axes; names that the op uses are skipped."""
        key = (pack, rank)
        if key not in self.written:
            names: list[str] = []
            for number in range(1, rank + 1):
                name = f"{pack}{number}"
                while name in self.taken:
                    name += "_"
                self.taken.add(name)
                names.append(name)
            self.written[key] = tuple(names)
        return self.written[key]

    def _type(self, type_: tree.Type) -> tree.Type:
        if type_.dims is None:
            return type_
        dims: list[tree.Axis] = []
        for dim in type_.dims:
            if isinstance(dim, tree.Pack) and dim.name in self.ranks:
                dims += [tree.Name(n, dim.span) for n in self._names(dim.name, self.ranks[dim.name])]
            elif isinstance(dim, tree.Pack):
                self._refuse(
                    dim.name, dim.span, "no input has it, so nothing says how many axes it stands for"
                )
            else:
                dims.append(dim)
        return replace(type_, dims=tuple(dims) if dims else None)

    def _statement(self, statement: tree.Statement) -> tree.Statement:
        if isinstance(statement, tree.Require):
            return statement
        packs = self._index_packs(statement)
        targets = tuple(
            t if t.index is None else replace(t, index=self._index(t.index, packs)) for t in statement.targets
        )
        value = map_expression(statement.value, lambda index: self._index(index, packs))
        return replace(statement, targets=targets, value=value)

    def _index(self, index: tuple[tree.Axis, ...], packs: Mapping[str, int]) -> tuple[tree.Axis, ...]:
        axes: list[tree.Axis] = []
        for item in index:
            if isinstance(item, tree.Pack):
                if item.name not in packs:
                    self._refuse(item.name, item.span, "it indexes no tensor whose number of axes is known")
                axes += [tree.Name(n, item.span) for n in self._names(item.name, packs.get(item.name, 0))]
            else:
                axes.append(item)
        return tuple(axes)

    def _refuse(self, name: str, span: Span, why: str) -> None:
        self.diagnostics.add(error("pack-unknown", f"nothing says how many axes `*{name}` has", span, why))
