"""g++, which compiles the emulator and the emitted kernels.

Kernels are compiled for checking with `-fsanitize=thread,bounds,alignment`: the compiler then calls a function
before each access to memory that another thread could see, and where an index or an address is wrong. These
functions are the emulator's (`runtime/sanitized.cpp`); the libraries of g++'s own sanitizers, which know nothing of
blocks and barriers, are not linked.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Protocol

from te.backends.cuda.unavailable import CudaUnavailable
from te.target import available_cores

__all__ = ["compile_kernels", "emulator_program", "find_compiler", "keep_in"]

SOURCE_NAME = "kernels.cu"  # under which the debugging information knows the emitted text
_COMMON = ("-std=c++17", "-fPIC", "-fno-strict-aliasing")
# -O1 keeps lines and accesses as they are written, and compiles in half the time of -O2.
_KERNELS = (
    *_COMMON,
    *(
        "-O1",
        "-g1",
        "-gdwarf-4",
        "-w",
        "-shared",
        "-fvisibility=hidden",
        "-fno-exceptions",
        "-fno-extern-tls-init",
    ),
    "-fstack-clash-protection",  # a frame that does not fit hits the page before the stack
    *("-ffp-contract=off", "-fno-math-errno"),  # what is to be fused says so
)
_CHECKED = (
    *("-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"),
    "-fsanitize=bounds,alignment",  # indices of arrays in registers; vectors, also where they are taken apart
)
_LINKED = ("-nodefaultlibs", "-lm", "-lc")  # without the sanitizers' libraries
_EMULATOR = (*_COMMON, "-O2", "-flto", "-rdynamic")


class Store(Protocol):
    """Where what g++ made is kept between processes: `te.runtime.cache_folder.Folder`."""

    def read(self, key: str) -> tuple[bytes, bytes] | None: ...

    def write(self, key: str, header: bytes, code: bytes) -> None: ...


def _no_store() -> Store | None:
    return None


_open_store: Callable[[], Store | None] = _no_store


def keep_in(open_store: Callable[[], Store | None]) -> None:
    """Keep what is compiled from now on in a store, which is asked for each time."""
    global _open_store
    _open_store = open_store


@cache
def find_compiler() -> str:
    """The path of g++. Raises CudaUnavailable where there is none, or none for this system."""
    if platform.system() != "Linux":
        raise CudaUnavailable("the emulator of CUDA runs under Linux alone")
    found = shutil.which("g++")
    if found is None:
        raise CudaUnavailable(
            "the emulator compiles kernels with g++, which is not on the PATH: install it "
            "(Debian, Ubuntu: `apt install g++`; Fedora: `dnf install gcc-c++`)"
        )
    return found


@cache
def _version() -> str:
    command = [find_compiler(), "-dumpfullversion", "-dumpmachine"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def compile_kernels(sources: Sequence[str], *, is_checked: bool) -> list[Path]:
    """CUDA C++ texts to shared libraries, several at a time; with `is_checked`, accesses are seen.

    Raises CudaUnavailable without g++, and ValueError with its messages for a text that it refuses.
    """
    header = _file("include", "te_emulated.h")
    flags = (*_KERNELS, *(_CHECKED if is_checked else ()))

    def compile_one(source: str) -> Path:
        text = f'# 1 "te_emulated.h"\n{header}\n# 1 "{SOURCE_NAME}"\n{source}'
        return _cached(("-x", "c++", *flags, "-"), text, ".so", _LINKED)

    if len(sources) == 1:
        return [compile_one(sources[0])]
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(compile_one, sources))


def emulator_program() -> Path:
    """The emulator, as an executable. Raises CudaUnavailable without g++."""
    if _program and _program[0].exists():
        return _program[0]
    _program[:] = [_compiled_emulator()]
    return _program[0]


_program: list[Path] = []


def _compiled_emulator() -> Path:
    names = sorted(entry.name for entry in _files("runtime").iterdir())
    headers = [n for n in names if n.endswith(".h")]
    sources = [n for n in names if n.endswith(".cpp")]
    text = "".join(_file("runtime", name) for name in (*headers, *sources))
    folder = _folder() / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(_file("runtime", name), encoding="utf-8")
    paths = [str(folder / name) for name in sources]
    return _cached((*_EMULATOR, *paths), text, "", ("-ldl",))


def _files(folder: str) -> resources.abc.Traversable:
    return resources.files(__package__) / folder


@cache
def _file(folder: str, name: str) -> str:
    return (_files(folder) / name).read_text(encoding="utf-8")


def _folder() -> Path:
    """Files of this process, whose names are hashes: the loader takes a name that it knows for the same library.

    Systems clear their folder of temporary files now and then, also of those that are in use.
    """
    folder = _folder_name()
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@cache
def _folder_name() -> Path:
    folder = tempfile.mkdtemp(prefix="te-emulator-")
    atexit.register(_remove_folder, folder, os.getpid())
    return Path(folder)


def _remove_folder(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # and no child of it
        shutil.rmtree(folder, ignore_errors=True)


def _cached(flags: Sequence[str], text: str, suffix: str, linked: Sequence[str]) -> Path:
    """What g++ makes of a text, from the store or made now."""
    own = [f for f in flags if not f.startswith(str(_folder()))]
    described = "\n".join([_version(), *own, *linked, text])
    key = hashlib.sha256(described.encode("utf-8", "surrogatepass")).hexdigest()
    path = _folder() / f"{key[:32]}{suffix}"
    if path.exists():
        return path
    store = _open_store()
    held = store.read(key) if store else None
    if held is not None:
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        unfinished.write_bytes(held[1])
        unfinished.chmod(0o700)
        unfinished.rename(path)
        return path
    _run_compiler([*flags, "-o", str(path), *linked], text)
    if store:
        store.write(key, b"emulator", path.read_bytes())
    return path


def _run_compiler(arguments: Sequence[str], text: str) -> None:
    run = subprocess.run([find_compiler(), *arguments], input=text, capture_output=True, text=True)
    if run.returncode != 0:
        raise ValueError(f"g++ refuses what is to be emulated:\n{run.stderr.strip()}")
