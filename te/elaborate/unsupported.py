"""Parts of the language that this version parses and does not compile."""

from __future__ import annotations

from typing import NoReturn

from te.diagnostics import Span, error
from te.elaborate.scope import Scope


def unsupported(scope: Scope, what: str, span: Span, help: str | None = None) -> NoReturn:
    scope.fail(error("not-supported", f"this version of te does not support {what}", span, help=help))
