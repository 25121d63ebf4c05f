"""What ends a command, apart from a program that does not compile."""

from __future__ import annotations


class Usage(Exception):
    """The command makes no sense: an op, a size or an option that is not there."""


class WrongData(Exception):
    """An input that does not fit the op, or an output that cannot be written as asked."""
