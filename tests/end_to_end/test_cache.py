"""The object cache: what an entry is found by, and that nothing wrong with the folder shows."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import te
from te import pipeline
from te.build import build
from te.cli import main
from te.runtime import cache, cache_folder
from te.schedule.schedule import Schedule

F32 = np.float32
ROOT = Path(__file__).resolve().parents[2]

SCALE = "op scale(X: f32[N], const by: int = 2) -> Y: f32[N] { Y[i] = by * X[i] }"
HALVES = """
## Halves.
op halves(X: f32[N]) -> Y: f32[N // 2], Z: f32[N // 2] {
    Y[i] = X[2 * i]
    Z[i] = X[2 * i + 1]
}
"""
SOFTMAX = """
op softmax<T: float>(X: T[*S, N]) -> Y: T[*S, N] {
    m[*s]    = max[j](X[*s, j])
    e[*s, i] = exp(X[*s, i] - m[*s])
    Y[*s, i] = e[*s, i] / sum[k](e[*s, k])
}
"""
LOOKUP = """
const weights: f32[3] = [0.5, 1.5, 2.5]
op lookup(ids: i64[N]) -> Y: f32[N] { Y[i] = weights[ids[i]] }
"""

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
not_root = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may do everything")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("TE_CACHE_DIR", str(path))
    monkeypatch.delenv("TE_CACHE_SIZE", raising=False)
    monkeypatch.setattr(cache_folder, "_warned", set())
    return path


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the ops that were compiled, in order."""
    names: list[str] = []
    original = pipeline.compile_op

    def compile_op(op: Any, *rest: Any, **options: Any) -> Any:
        names.append(op.name)
        return original(op, *rest, **options)

    monkeypatch.setattr(pipeline, "compile_op", compile_op)
    return names


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.entry"))


# ---------------------------------------------------------------- hits


def test_the_second_build_compiles_nothing(folder: Path, compiled: list[str]) -> None:
    x = np.arange(5, dtype=F32)
    first, second = build(SCALE), build(SCALE)
    assert compiled == ["scale"]
    assert len(entries(folder)) == 1
    np.testing.assert_array_equal(second(x), 2 * x)
    assert second.signature == first.signature
    assert second.schedule == first.schedule
    assert compiled == ["scale"]
    for level in ("tensor", "loop", "final", "llvm", "asm"):
        assert second.ir(level) == first.ir(level)
    assert compiled == ["scale", "scale"]  # once for all levels


def test_results_docs_and_messages_are_the_same(compiled: list[str]) -> None:
    x = np.arange(7, dtype=F32)
    first, second = build(HALVES), build(HALVES)
    assert len(compiled) == 1
    assert second.__doc__ == first.__doc__ == "Halves."
    for found, wanted in zip(second(x[:6]), first(x[:6]), strict=True):
        np.testing.assert_array_equal(found, wanted)
    fixed = [build(SCALE, sizes={"N": 4}) for _ in range(2)]
    messages = []
    for kernel in fixed:
        with pytest.raises(ValueError) as wrong:
            kernel(x)
        messages.append(str(wrong.value))
    assert messages[0] == messages[1]


def test_tables_and_checks(compiled: list[str]) -> None:
    ids = np.array([2, 0, 1])
    messages = []
    for _ in range(2):
        kernel = build(LOOKUP)
        np.testing.assert_array_equal(kernel(ids), np.array([2.5, 0.5, 1.5], F32))
        with pytest.raises(IndexError) as wrong:
            kernel(ids + 1)
        messages.append(str(wrong.value))
    assert compiled == ["lookup"]
    assert messages[0] == messages[1]
    assert "(line 3)" in messages[0]


def test_dtypes_and_ranks_that_calls_decide(compiled: list[str]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    for _ in range(2):
        kernel = build(SOFTMAX)
        np.testing.assert_allclose(kernel(x).sum(-1), np.ones((2, 3)))
        np.testing.assert_allclose(kernel(x[0].astype(F32)).sum(-1), np.ones(3), rtol=1e-6)
    assert compiled == ["softmax", "softmax"]
    assert repr(kernel) == repr(build(SOFTMAX))


def test_ops_modules_and_paths_share_entries(tmp_path: Path, compiled: list[str]) -> None:
    path = tmp_path / "scale.te"
    path.write_text(SCALE)
    for expr in (path, str(path)):
        build(expr)
    build(te.load(path).scale)
    assert len(compiled) == 2  # with and without the op's name
    build(te.load(path), op="scale")
    assert len(compiled) == 2


def test_hits_need_neither_parser_nor_compiler(folder: Path) -> None:
    program = f"""
import sys, te
te.build({SCALE!r})
print(*[m for m in sys.modules if m.startswith(("te.grammar", "te.schedule", "te.pipeline", "te.elaborate.elab"))])
"""
    run(program)
    assert any(run(program) == "\n" for _ in range(3))  # somebody may edit te meanwhile


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


# ---------------------------------------------------------------- what an entry is found by


@pytest.mark.parametrize(
    "again",
    [
        lambda: build(SCALE + " "),
        lambda: build(SCALE, "vectorize i by 4"),
        lambda: build(SCALE, "none"),
        lambda: build(SCALE, "auto"),
        lambda: build(SCALE, Schedule("scale").unroll("i", by=2)),
        lambda: build(SCALE, sizes={"N": 3}),
        lambda: build(SCALE, consts={"by": 3}),
        lambda: build(SCALE, op="scale"),
        lambda: build(SCALE, target="llvm.sse4") if te.target.parse_target("llvm.sse4").is_native else None,
    ],
)
def test_every_part_of_a_request_counts(again: Callable[[], object], compiled: list[str]) -> None:
    build(SCALE)
    made = again()
    assert len(compiled) == (1 if made is None else 2)
    assert again() is None or len(compiled) == 2


def test_values_of_another_type_are_refused_as_ever() -> None:
    build(SCALE, consts={"by": 1}, sizes={"N": 1})
    with pytest.raises(TypeError, match="must be an int"):
        build(SCALE, consts={"by": True})
    with pytest.raises(TypeError, match="must be an int"):
        build(SCALE, sizes={"N": True})
    with pytest.raises(ValueError, match="called"):
        build(te.parse(SCALE).scale, op="other")


def test_the_integers_of_numpy_mean_what_those_of_python_do(compiled: list[str]) -> None:
    build(SCALE, sizes={"N": 3})
    build(SCALE, sizes={"N": np.int64(3)})  # type: ignore[dict-item]  # as arrays' shapes may give it
    assert len(compiled) == 1


def test_values_that_could_mean_anything_are_compiled_as_ever(compiled: list[str]) -> None:
    text = SCALE.replace("int = 2", "float = 2.0")
    for _ in range(2):
        kernel = build(text, consts={"by": np.array(1.5)})  # type: ignore[dict-item]  # what float() takes
        np.testing.assert_array_equal(kernel(np.ones(1, F32)), F32([1.5]))
    assert len(compiled) == 2


def test_the_compiler_counts(monkeypatch: pytest.MonkeyPatch, compiled: list[str]) -> None:
    build(SCALE)
    parts = cache._compiler()
    for place in range(len(parts)):
        changed = [*parts[:place], "another", *parts[place + 1 :]]
        monkeypatch.setattr(cache, "_compiler", lambda changed=changed: changed)
        build(SCALE)
        assert len(compiled) == place + 2


def test_used_files_count(tmp_path: Path, compiled: list[str]) -> None:
    main_file, used = tmp_path / "main.te", tmp_path / "parts.te"
    main_file.write_text("use parts\nop twice(X: f32[N]) -> Y: f32[N] { Y = parts.grow(X) }")
    used.write_text("op grow(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }")
    one = np.ones(1, F32)
    assert build(main_file)(one) == build(main_file)(one) == 2
    assert len(compiled) == 1
    old = build(main_file)
    used.write_text("op grow(X: f32[N]) -> Y: f32[N] { Y[i] = 3 * X[i] }")
    with pytest.raises(RuntimeError, match="a file that it uses has changed"):
        old.ir("tensor")
    assert build(main_file)(one) == build(main_file)(one) == 3
    assert len(compiled) == 3  # `old.ir` among them
    used.unlink()
    with pytest.raises(te.CompileError, match="there is no file"):
        build(main_file)


def test_a_file_that_comes_before_the_library_counts(tmp_path: Path, compiled: list[str]) -> None:
    main_file = tmp_path / "main.te"
    main_file.write_text("use nn\nop f(X: f32[N]) -> Y: f32[N] { Y = nn.relu(X) }")
    minus = -np.ones(1, F32)
    assert build(main_file)(minus) == 0
    (tmp_path / "nn.te").write_text("op relu(X: f32[N]) -> Y: f32[N] { Y[i] = 7 * X[i] }")
    assert build(main_file)(minus) == -7
    assert len(compiled) == 2


# ---------------------------------------------------------------- broken entries


def test_broken_entries_are_misses(
    folder: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    used: list[cache.Cache] = []
    init = cache.Cache.__init__
    monkeypatch.setattr(
        cache.Cache, "__init__", lambda self, asked: (used.append(self), init(self, asked))[1]
    )
    build(SCALE)
    [entry] = entries(folder)
    whole = entry.read_bytes()
    length = len(whole)
    source = random.Random(0)
    places = [
        0,
        5,
        11,
        20,
        43,
        47,
        60,
        length // 2,
        length - 1,
        *(source.randrange(length) for _ in range(10)),
    ]
    broken = [whole[:place] for place in places]
    broken += [whole[:p] + bytes([whole[p] ^ 0x40]) + whole[p + 1 :] for p in places]
    broken += [b"", b"\0" * length, source.randbytes(length), whole + b"x", whole * 2]
    broken += [
        cache_folder._packed(header, b"") for header in (b"", b"{}", b"[]", b"null", b"\xff", b'{"key": 1}')
    ]
    broken.append(cache_folder._packed(b"[" * 100_000, b""))
    header, code = cache_folder._unpacked(whole) or (b"", b"")
    broken.append(cache_folder._packed(header.replace(b'"key": "', b'"key": "0'), code))
    broken.append(cache_folder._packed(header.replace(b'"ways"', b'"weighs"'), code))
    broken.append(cache_folder._packed(header.replace(b'"var"', b'"load"'), code))
    broken.append(cache_folder._packed(header.replace(b'"found": {}', b'"found": []'), code))
    broken.append(cache_folder._packed(header.replace(b'"doc"', b'"new": 1, "doc"'), code))
    for number, content in enumerate(broken):
        assert content != whole
        entry.write_bytes(content)
        found = used[0].find(None)
        assert found is None, number
        assert not entry.exists(), number
    np.testing.assert_array_equal(build(SCALE)(np.ones(2, F32)), [2, 2])
    assert entry.read_bytes() == whole
    assert len(compiled) == 2


@posix
def test_links_folders_and_pipes_are_no_entries(folder: Path, tmp_path: Path, compiled: list[str]) -> None:
    build(SCALE)
    [entry] = entries(folder)
    entry.rename(tmp_path / "elsewhere")
    for make in (
        lambda: entry.symlink_to(tmp_path / "elsewhere"),
        lambda: os.mkfifo(entry),
        lambda: entry.mkdir(),
    ):
        make()
        build(SCALE)
        if entry.is_dir():
            entry.rmdir()
        else:
            entry.unlink()
    assert len(compiled) == 4


# ---------------------------------------------------------------- the folder


@pytest.mark.parametrize("value", ["", "0"])
def test_it_can_be_turned_off(value: str, monkeypatch: pytest.MonkeyPatch, compiled: list[str]) -> None:
    monkeypatch.setenv("TE_CACHE_DIR", value)
    build(SCALE)
    build(SCALE)
    assert len(compiled) == 2


@posix
def test_the_folder_is_private(folder: Path) -> None:
    build(SCALE)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert entries(folder)[0].stat().st_mode & 0o777 == 0o600


@posix
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_folder_that_others_may_write_is_refused_once(folder: Path, mode: int, compiled: list[str]) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with pytest.warns(RuntimeWarning, match="others may write in"):
        build(SCALE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(build(SCALE)(np.ones(1, F32)), [2])
    assert not list(folder.iterdir())
    assert len(compiled) == 2


@posix
def test_folders_above_count(folder: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="others may replace"):
        build(SCALE)
    tmp_path.chmod(0o700)


@posix
def test_the_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        build(SCALE)


@posix
@not_root
def test_a_folder_that_may_not_be_written(folder: Path, compiled: list[str]) -> None:
    build(SCALE)
    folder.chmod(0o500)
    try:
        build(SCALE)
        build(HALVES)
    finally:
        folder.chmod(0o700)
    assert compiled == ["scale", "halves"]


def test_a_folder_that_cannot_be_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    folder.write_text("a file")
    monkeypatch.setenv("TE_CACHE_DIR", str(folder / "below"))
    np.testing.assert_array_equal(build(SCALE)(np.ones(1, F32)), [2])
    monkeypatch.setenv("TE_CACHE_DIR", str(folder))
    build(SCALE)
    assert len(compiled) == 2


def test_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    build(SCALE)
    assert not list(folder.iterdir())


def test_the_size_limit(folder: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]) -> None:
    build(SCALE, consts={"by": 0})
    size = entries(folder)[0].stat().st_size
    limit = 5 * size
    monkeypatch.setenv("TE_CACHE_SIZE", str(limit))
    for by in range(1, 10):
        build(SCALE, consts={"by": by})
        time.sleep(0.01)
        build(SCALE, consts={"by": 0})  # used all the time
        time.sleep(0.01)
        assert sum(e.stat().st_size for e in entries(folder)) <= limit
    assert len(compiled) == 10
    build(SCALE, consts={"by": 9})
    assert len(compiled) == 10
    build(SCALE, consts={"by": 1})
    assert len(compiled) == 11


@pytest.mark.parametrize(("text", "size"), [("", 256 << 20), ("1000", 1000), ("3k", 3072), ("2G", 2 << 30)])
def test_sizes(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_CACHE_SIZE", text)
    assert cache_folder.size_limit() == size


@pytest.mark.parametrize("text", ["much", "-1", "1.5G", "1KM", "M", "²"])
def test_sizes_that_make_no_sense(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_CACHE_SIZE", text)
    with pytest.warns(RuntimeWarning, match="is no size such as 256M"):
        build(SCALE)


def test_unfinished_files_go_after_an_hour(folder: Path) -> None:
    build(SCALE)
    old, new = folder / "old.tmp", folder / "new.tmp"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    found = cache_folder.open_folder()
    assert found is not None
    found.make_room()
    assert not old.exists()
    assert new.exists()


# ---------------------------------------------------------------- many processes


def start(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE)


WRITER = """
import numpy as np
from te.runtime.cache_folder import Folder, _packed
folder = Folder({path!r}, {limit})
for n in range({times}):
    key = f"{{n % 7:x}}" * 64
    found = folder.read(key)
    assert found is None or found == (key.encode(), key.encode() * 99), found
    folder.write(key, key.encode(), key.encode() * 99)
"""


def test_many_processes_write_at_once(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    writers = [start(WRITER.format(path=str(folder), limit=20_000, times=300)) for _ in range(4)]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors.decode()
    assert not list(folder.glob("*.tmp"))
    assert sum(e.stat().st_size for e in entries(folder)) <= 20_000 + 4 * 7000


@posix
def test_killed_writers_leave_nothing_wrong(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for number in range(4):
        writer = start(WRITER.format(path=str(folder), limit=1 << 30, times=10**9))
        time.sleep(0.6 + 0.05 * number)
        writer.send_signal(signal.SIGKILL)
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == -signal.SIGKILL, errors.decode()
    found = cache_folder.Folder(str(folder), 1 << 30)
    for entry in entries(folder):
        assert found.read(entry.stem) is not None


# ---------------------------------------------------------------- the command


def test_info_and_clear(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(SCALE)
    (folder / "notes.txt").write_text("not te's")
    assert main(["cache", "info"]) == 0
    out = capsys.readouterr().out
    assert str(folder) in out
    assert "kernels  1, 0.0 MB of at most 256.0 MB" in out
    assert main(["cache", "clear"]) == 0
    assert "removed 1 kernels" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_info_says_why_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TE_CACHE_DIR", "0")
    assert main(["cache", "info"]) == 1
    assert main(["cache", "clear"]) == 1
    assert capsys.readouterr().out.count("the cache is off: TE_CACHE_DIR turns it off") == 2
