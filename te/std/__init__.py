"""The standard library, for `import te.std` and `from te.std import nn`; the ops are in the `.te` files beside this.

>>> from te.std import nn
>>> nn.softmax
<te.Op softmax<T: float>(X: T[*S, N]) -> Y: T[*S, N]>
"""

from te.module import Module
from te.module import std as library


def __getattr__(name: str) -> Module:
    return getattr(library, name)


def __dir__() -> list[str]:
    return library.names()
