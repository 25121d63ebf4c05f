"""The command `te`: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import te
from te.cli import main

F32 = np.float32

DOUBLE = "## Twice the input.\nop double(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }\n"
INVERT = "op invert(X: f32[H, W]) -> Y: f32[H, W] { Y[i, j] = 1 - X[i, j] }\n"
COLOUR = "op swap(X: u8[H, W, C]) -> Y: u8[H, W, C] { Y[i, j, c] = X[i, j, C - 1 - c] }\n"
AXPY = """
op axpy(a: f32, X: f32[N], Z: f32[N], const c: int = 1) -> Y: f32[N], s: f32 {
    Y[i] = a * X[i] + c * Z[i]
    s = sum[i](Y[i])
}
"""


class Command:
    """Runs `te` in a folder of its own, in this process."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]):
        self.folder = folder
        self.capture = capture

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """The exit code, and what went to stdout and stderr."""
        self.capture.readouterr()
        code = main(list(arguments))
        captured = self.capture.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path, capsys)


# ---------------------------------------------------------------- the command itself


def test_version_and_help(run: Command) -> None:
    assert run("--version") == (0, f"te {te.__version__}\n", "")
    code, out, _ = run("--help")
    assert code == 0
    assert all(word in out for word in ("check", "fmt", "show", "run", "help", "doctor"))


@pytest.mark.parametrize("arguments", [[], ["chekc"], ["check"], ["show", "a.te", "op", "--ir", "lop"]])
def test_usage(run: Command, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "usage: te" in err


def test_as_a_module() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "te", "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout == f"te {te.__version__}\n"


# ---------------------------------------------------------------- check


def test_check(run: Command) -> None:
    good = run.file("good.te", DOUBLE)
    bad = run.file(
        "bad.te", "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[j] }\nschedule g on llvm { parallel i }\n"
    )
    assert run("check", good) == (0, "", "")
    code, out, err = run("check", good, bad)
    assert (code, out) == (1, "")
    assert err.count("error: ") == 2
    assert "  --> bad.te:1:41\n" in err
    assert "\x1b[" not in err


def test_check_of_a_schedule(run: Command) -> None:
    bad = run.file("bad.te", DOUBLE + "schedule double on llvm {\n    parallel j\n    vectorise i by 8\n}\n")
    code, _, err = run("check", bad)
    assert code == 1
    assert "there is no verb `vectorise`" in err


def test_check_leaves_schedules_of_other_backends_alone(run: Command) -> None:
    assert run("check", run.file("a.te", DOUBLE + "schedule double on cuda { bind i to thread.x }"))[0] == 0


def test_check_of_an_op_with_packs_and_dtype_variables(run: Command) -> None:
    text = (
        "op double<T>(X: T[*S]) -> Y: T[*S] { Y[*s] = 2 * X[*s] }\nschedule double on llvm { parallel s1 }\n"
    )
    assert run("check", run.file("a.te", text)) == (0, "", "")


def test_check_wants_no_const_from_the_file(run: Command) -> None:
    assert run("check", run.file("a.te", DOUBLE.replace(")", ", const c: int)", 1)))[0] == 0


def test_check_as_json(run: Command) -> None:
    bad = run.file("bad.te", "op f(X: f32[N]) -> Y: f32[N] {\n    Y[i] = X[j]\n}\n")
    code, out, err = run("check", "--json", bad)
    assert (code, err) == (1, "")
    (found,) = json.loads(out)
    assert {
        name: found[name] for name in ("file", "line", "column", "end_line", "end_column", "code", "severity")
    } == {
        "file": "bad.te",
        "line": 2,
        "column": 14,
        "end_line": 2,
        "end_column": 15,
        "code": "unbound-index",
        "severity": "error",
    }
    assert found["message"].startswith("nothing binds the index `j`")
    assert run("check", "--json", run.file("good.te", DOUBLE)) == (0, "[]\n", "")


def test_check_as_json_names_every_place(run: Command) -> None:
    """Lines and columns count from 1, in characters; `end` is the place behind the last one."""
    bad = run.file(
        "bad.te",
        "\ufeff# é 日本 𝄞\r\nop f(X: f32[N]) -> Y: f32[N] {\r\n\tY[i] = sum[k](\r\n  X[k] + 1\r\n) + Z[i]\r\n}\r\n"
        "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] }\r\n",
    )
    code, out, err = run("check", "--json", bad)
    assert (code, err) == (1, "")
    unknown, twice = sorted(json.loads(out), key=lambda found: found["line"])
    assert place(unknown) == (5, 5, 5, 6)
    assert place(twice) == (7, 4, 7, 5)
    assert [(note["file"], place(note)) for note in twice["notes"]] == [("bad.te", (2, 4, 2, 5))]
    assert {found["severity"] for found in (unknown, twice)} == {"error"}


def place(found: dict[str, Any]) -> tuple[int, ...]:
    return tuple(found[name] for name in ("line", "column", "end_line", "end_column"))


def test_check_of_what_goes_over_lines(run: Command) -> None:
    bad = run.file("bad.te", "op f(X: i64[N]) -> Y: f32[N] {\n    Y[i] = (X[i]\n        + 1)\n}\n")
    (found,) = json.loads(run("check", "--json", bad)[1])
    assert place(found) == (2, 13, 3, 12)


def test_check_at_the_end_of_a_file(run: Command) -> None:
    for text, end in [("op f() -> y: f32 {", (1, 19)), ("op f() -> y: f32 {\n", (1, 19)), ("op", (1, 3))]:
        (found, *_) = json.loads(run("check", "--json", run.file("bad.te", text))[1])
        assert place(found)[:2] == end
        assert place(found)[2:] in ((end[0], end[1]), (end[0], end[1] + 1))


def test_check_of_many_files(run: Command) -> None:
    """Every file is checked, whatever is wrong with those before it; warnings are no errors."""
    bad = run.file("bad.te", "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[j] }\n")
    broken = run.file("broken.te", "op f(\n")
    good = run.file("good.te", DOUBLE)
    (run.folder / "latin1.te").write_bytes(b"# \xe9t\xe9\n")
    code, out, err = run("check", "--json", bad, good, broken, "latin1.te", bad)
    assert (code, err) == (1, "")
    assert [found["file"] for found in json.loads(out)] == ["bad.te", "broken.te", "latin1.te"]
    assert run("check", good, good) == (0, "", "")


def test_check_of_folders(run: Command) -> None:
    for folder in ("ops/deep", "ops/.hidden", "empty"):
        (run.folder / folder).mkdir(parents=True)
    run.file("ops/deep/bad.te", "op f(\n")
    run.file("ops/bad.te", "op g(\n")
    run.file("ops/.hidden/bad.te", "op h(\n")
    run.file("ops/bad.txt", "op h(\n")
    (run.folder / "ops" / "folder.te").mkdir()
    code, out, _ = run("check", "--json", "ops", "ops/bad.te")
    assert code == 1
    assert [found["file"] for found in json.loads(out)] == ["ops/bad.te", "ops/deep/bad.te"]
    assert run("check", "empty") == (2, "", "te: error: empty: there is no .te file in this folder\n")


def test_files_that_cannot_be_read(run: Command) -> None:
    code, _, err = run("check", "nothing.te")
    assert (code, err) == (2, "te: error: nothing.te: No such file or directory\n")
    (run.folder / "binary.te").write_bytes(b"\xff\xfe\0\0")
    code, _, err = run("check", "binary.te")
    assert code == 1
    assert err.startswith("error: binary.te is no UTF-8 text: byte 0xff in line 1")
    code, out, _ = run("check", "--json", "binary.te")
    assert (code, json.loads(out)[0]["file"], json.loads(out)[0]["line"]) == (1, "binary.te", None)


# ---------------------------------------------------------------- show


def test_show(run: Command) -> None:
    file = run.file("ops.te", DOUBLE + INVERT)
    code, out, err = run("show", file, "double")
    assert (code, err) == (0, "")
    assert out == "## Twice the input.\nop double(X: f32[N]) -> Y: f32[N] {\n    Y[i] = 2.0 * X[i]\n}\n"
    assert "vector for" in run("show", file, "double", "--ir", "loop", "--schedule", "vectorize i by 8")[1]
    assert (
        "for Y.i < 12"
        in run("show", file, "double", "--ir", "final", "--schedule", "none", "--size", "N=12")[1]
    )
    assert "<8 x float>" in run("show", file, "double", "--ir", "llvm", "--schedule", "vectorize i by 8")[1]
    assert run("show", file, "double", "--ir", "asm")[0] == 0


def test_schedule_prints_what_reads_back(run: Command) -> None:
    file = run.file("ops.te", DOUBLE + "schedule double on llvm { vectorize i by 4 }\n")
    assert run("schedule", file)[:2] == (0, "schedule double on llvm {\n    vectorize i by 4\n}\n")
    code, text, _ = run("schedule", file, "double", "--schedule", "auto", "--size", "N=100000")
    assert (code, "parallel Y.io" in text) == (0, True)
    assert run("schedule", run.file("auto.te", DOUBLE + text), "--size", "N=100000")[1] == text
    assert run("schedule", file, "halve")[0] == 2


def test_show_of_what_is_not_there(run: Command) -> None:
    file = run.file("ops.te", DOUBLE + INVERT)
    for arguments, message in [
        ([file], "ops.te has several ops; choose one with op=: double, invert"),
        ([file, "duoble"], "ops.te has no op `duoble`; it has double, invert (did you mean `double`?)"),
        ([file, "double", "--size", "M=3"], "double has no size `M`; it has `N`"),
        ([file, "double", "--size", "N"], "--size takes NAME=VALUE, found `N`"),
        ([file, "double", "--size", "N=x"], "--size N=x: `x` is no number"),
        ([file, "double", "--target", "lvm"], "there is no target `lvm`"),
        ([file, "double", "--schedule", "atuo"], "schedule='atuo' is no text of directives"),
    ]:
        code, out, err = run("show", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"te: error: {message}")
    code, _, err = run("show", file, "double", "--schedule", "parallel j")
    assert code == 1
    assert err.startswith("error: ")


# ---------------------------------------------------------------- run


def test_run_on_arrays(run: Command) -> None:
    file = run.file("axpy.te", AXPY)
    x, z = np.arange(4, dtype=F32), np.ones(4, F32)
    np.save("x.npy", x)
    np.save("z.npy", z)
    inputs = ["--input", "a=0.5", "--input", "X=x.npy", "--input", "Z=z.npy"]
    assert run("run", file, "axpy", *inputs, "--output", "Y=y.npy", "--output", "s=s.npy") == (0, "", "")
    np.testing.assert_array_equal(np.load("y.npy"), 0.5 * x + z)
    assert np.load("s.npy") == np.sum(0.5 * x + z)
    code, out, _ = run("run", file, "axpy", *inputs, "--const", "c=-1", "--size", "N=4", "--schedule", "none")
    assert code == 0
    assert out == "Y: f32[4]\n[-1.  -0.5  0.   0.5]\ns: f32[]\n-1.\n"


def test_run_with_one_input_and_one_output(run: Command) -> None:
    file = run.file("double.te", DOUBLE)
    np.save("a=b.npy", np.ones(3, F32))
    assert run("run", file, "--input", "X=a=b.npy", "--output", "y.npy")[0] == 0
    np.testing.assert_array_equal(np.load("y.npy"), [2, 2, 2])


def test_math_is_an_option_of_builds(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def build(*arguments: Any, **options: Any) -> Any:
        asked.append(options["math"])
        return te.build(*arguments, **options)

    monkeypatch.setattr("te.cli.show.build", build)
    file = run.file("double.te", DOUBLE)
    assert run("show", file, "--ir", "loop")[0] == 0
    assert run("show", file, "--ir", "loop", "--math", "fast")[0] == 0
    assert asked == ["strict", "fast"]


def test_run_of_an_op_with_dtype_variables(run: Command) -> None:
    file = run.file("double.te", "op double<T>(X: T[N]) -> Y: T[N] { Y[i] = 2 * X[i] }")
    np.save("x.npy", np.arange(3))
    assert run("run", file, "--input", "x.npy")[1] == "Y: i64[3]\n[0 2 4]\n"


def test_run_with_data_that_does_not_fit(run: Command) -> None:
    file = run.file("axpy.te", AXPY)
    np.save("x.npy", np.arange(4, dtype=F32))
    np.save("long.npy", np.ones(5, F32))
    np.save("wide.npy", np.ones(4))
    np.save("object.npy", np.array([None]), allow_pickle=True)
    run.file("text.npy", "1 2 3")
    (run.folder / "cut.npy").write_bytes((run.folder / "x.npy").read_bytes()[:-5])
    for name, message in [
        ("long.npy", "axpy: axis 0 of `Z` must be N = 4 (as in axis 0 of `X`), found 5"),
        ("wide.npy", "axpy: `Z` must be f32, found float64"),
        ("text.npy", "text.npy is no .npy file, whatever its name says"),
        ("cut.npy", "cut.npy cannot be read: "),
        ("object.npy", "object.npy cannot be read: Object arrays cannot be loaded"),
        ("x.csv", "x.csv: a file is one of .npy, .png"),
        ("axpy.te", "axpy.te: a file is one of .npy, .png"),
    ]:
        code, out, err = run("run", file, "--input", "a=1", "--input", "X=x.npy", "--input", f"Z={name}")
        assert (code, out) == (1, "")
        assert err.startswith(f"te: error: {message}")


def test_run_with_a_command_that_makes_no_sense(run: Command) -> None:
    file = run.file("axpy.te", AXPY)
    np.save("x.npy", np.arange(4, dtype=F32))
    for arguments, message in [
        (
            ["--input", "X=x.npy"],
            "axpy(a: f32, X: f32[N], Z: f32[N]) -> Y: f32[N], s: f32 needs --input a=FILE, --input Z=FILE",
        ),
        (["--input", "x.npy"], "--input takes NAME=FILE, where NAME is one of a, X, Z; found `x.npy`"),
        (["--input", "Q=x.npy"], "--input Q=x.npy: there is no `Q`, only a, X, Z"),
        (["--input", "X=x.npy", "--input", "X=x.npy"], "--input gives `X` twice"),
        (["--input", "X="], "--input X=: the name of a file is missing"),
        (["--const", "d=1"], "axpy has no const `d`; it has `c`"),
        (
            ["--input", "a=1", "--input", "X=x.npy", "--input", "Z=nothing.npy"],
            "nothing.npy: No such file or directory",
        ),
    ]:
        code, out, err = run("run", file, "axpy", *arguments)
        assert (code, out, err) == (2, "", f"te: error: {message}\n")


def test_knobs(run: Command) -> None:
    text = "op f(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }\n"
    file = run.file("f.te", text + "schedule f on llvm (W in {4, 8} = 4) { vectorize i by W }\n")
    assert "ii < 4" in run("show", file, "--ir", "loop")[1]
    code, out, err = run("show", file, "--ir", "loop", "--knob", "W=8")
    assert (code, err) == (0, "")
    assert "ii < 8" in out
    code, _, err = run("show", file, "--ir", "loop", "--knob", "W=6")
    assert code == 1
    assert "`W` cannot be 6" in err
    assert "one of 4, 8" in err
    code, _, err = run("run", file, "--input", "X=x.npy", "--knob", "V=8")
    assert code == 1
    assert "have no knob `V`" in err


# ---------------------------------------------------------------- run on pictures

image = pytest.importorskip("PIL.Image")


def save_picture(name: str, pixels: Any) -> Any:
    image.fromarray(pixels).save(name)
    return pixels


def grey_picture(name: str = "grey.png") -> Any:
    return save_picture(name, np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8))


def colour_picture(name: str = "colour.png") -> Any:
    return save_picture(name, np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8))


def test_run_on_a_grey_picture(run: Command) -> None:
    file = run.file("invert.te", INVERT)
    pixels = grey_picture()
    assert run("run", file, "invert", "--input", "grey.png", "--output", "out.png") == (0, "", "")
    np.testing.assert_array_equal(np.asarray(image.open("out.png")), 255 - pixels)
    run("run", file, "invert", "--input", "grey.png", "--output", "out.npy")
    np.testing.assert_allclose(np.load("out.npy"), 1 - pixels / 255, atol=1e-6)


def test_run_on_a_colour_picture(run: Command) -> None:
    file = run.file("swap.te", COLOUR)
    pixels = colour_picture()
    assert run("run", file, "--input", "X=colour.png", "--output", "Y=out.png")[0] == 0
    np.testing.assert_array_equal(np.asarray(image.open("out.png")), pixels[:, :, ::-1])


def test_a_colour_picture_is_made_grey_where_the_op_asks(run: Command) -> None:
    colour_picture()
    assert run("run", run.file("invert.te", INVERT), "--input", "colour.png", "--output", "out.png")[0] == 0
    grey = np.asarray(image.open("colour.png").convert("L"))
    np.testing.assert_array_equal(np.asarray(image.open("out.png")), 255 - grey)


def test_channels_that_the_op_fixes(run: Command) -> None:
    grey_picture()
    colour_picture()
    one = run.file("one.te", "op one(X: u8[H, W, 1]) -> Y: u8[H, W, 1] { Y[i, j, c] = X[i, j, c] }")
    four = run.file("four.te", "op four(X: f64[H, W, 4]) -> Y: f64[H, W] { Y[i, j] = X[i, j, 3] }")
    assert run("run", one, "--input", "grey.png", "--output", "out.png")[0] == 0
    assert run("run", four, "--input", "colour.png", "--output", "out.npy")[0] == 0
    np.testing.assert_array_equal(np.load("out.npy"), np.ones((5, 7)))


def test_floats_are_clipped_on_the_way_out(run: Command) -> None:
    file = run.file("same.te", "op same(X: f32[H, W]) -> Y: f32[H, W] { Y[i, j] = X[i, j] }")
    np.save("x.npy", np.array([[-1, 0, 0.5, 1, 7, np.nan, np.inf]], F32))
    assert run("run", file, "--input", "x.npy", "--output", "y.png")[0] == 0
    assert np.asarray(image.open("y.png")).tolist() == [[0, 0, 128, 255, 255, 0, 255]]


def test_sixteen_bits_a_pixel(run: Command) -> None:
    save_picture("deep.png", np.array([[0, 257, 65535]], np.uint16))
    file = run.file("same.te", "op same(X: f32[H, W]) -> Y: f32[H, W] { Y[i, j] = X[i, j] }")
    assert run("run", file, "--input", "deep.png", "--output", "y.npy")[0] == 0
    np.testing.assert_allclose(np.load("y.npy"), [[0, 1 / 255, 1]], rtol=1e-6)


def test_the_camera_held_upright(run: Command) -> None:
    picture = image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture.save("turned.png", exif=exif)
    file = run.file("same.te", "op same(X: u8[H, W]) -> Y: u8[H, W] { Y[i, j] = X[i, j] }")
    assert run("run", file, "--input", "turned.png", "--output", "y.npy")[0] == 0
    assert np.load("y.npy").tolist() == [[3, 0], [4, 1], [5, 2]]


def test_pictures_that_do_not_fit(run: Command) -> None:
    grey_picture()
    colour_picture()
    run.file("text.png", "hello")
    (run.folder / "cut.png").write_bytes((run.folder / "colour.png").read_bytes()[:80])
    (run.folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    run.file("swap.te", COLOUR)
    run.file("ints.te", "op ints(X: i32[H, W]) -> Y: i32[H, W] { Y[i, j] = X[i, j] }")
    run.file("line.te", "op line(X: u8[N]) -> Y: u8[N] { Y[i] = X[i] }")
    for file, picture, message in [
        ("swap.te", "text.png", "text.png is no picture, whatever its name says"),
        ("swap.te", "cut.png", "cut.png is broken or incomplete: "),
        ("swap.te", "cut.jpg", "cut.jpg is "),
        (
            "swap.te",
            "grey.png",
            "grey.png is a grey picture of 5 x 7, and `X: u8[H, W, C]` takes a colour picture",
        ),
        ("ints.te", "grey.png", "grey.png: a picture cannot be `X: i32[H, W]`, only u8, f32 or f64"),
        ("line.te", "grey.png", "grey.png: a picture cannot be `X: u8[N]`"),
    ]:
        code, out, err = run("run", file, "--input", picture, "--output", "out.png")
        assert (code, out) == (1, "")
        assert err.startswith(f"te: error: {message}")
    assert run("run", "swap.te", "--input", "nothing.png") == (
        2,
        "",
        "te: error: nothing.png: No such file or directory\n",
    )
    assert not Path("out.png").exists()


def test_results_that_are_no_picture(run: Command) -> None:
    run.file("double.te", DOUBLE)
    np.save("x.npy", np.ones(3, F32))
    code, _, err = run("run", "double.te", "--input", "x.npy", "--output", "y.png")
    assert code == 1
    assert err.startswith("te: error: y.png: `Y` has the shape (3,), and a picture is [height, width]")
    code, _, err = run("run", "double.te", "--input", "x.npy", "--output", "y.txt")
    assert (code, err[:41]) == (1, "te: error: y.txt: a file is one of .npy, ")
    assert run("run", "double.te", "--input", "x.npy", "--output", "nowhere/y.npy")[0] == 2


def test_pictures_without_pillow(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    grey_picture()
    monkeypatch.setitem(sys.modules, "PIL", None)
    code, _, err = run("run", run.file("invert.te", INVERT), "--input", "grey.png")
    assert (code, err) == (
        1,
        "te: error: grey.png: pictures need Pillow, which is not installed: pip install pillow\n",
    )


def test_show_what_has_no_level_there(run: Command) -> None:
    file = run.file("a.te", "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] }\n")
    for options in (["--ir", "ptx"], ["--ir", "cuda"], ["--resources"]):
        code, out, err = run("show", file, "f", *options)
        assert (code, out) == (2, "")
        assert err.startswith("te: error: f: code for llvm has no level")


# ---------------------------------------------------------------- help and doctor


def test_help(run: Command) -> None:
    from te.schedule.directives import VERBS

    code, out, _ = run("help")
    assert code == 0
    assert all(f"\n  {verb} " in out for verb in VERBS)
    for verb in VERBS:
        code, out, _ = run("help", verb)
        assert code == 0
        assert out.startswith(f"{verb} <")
        assert "Before:" in out
    code, _, err = run("help", "splti")
    assert (code, err) == (2, "te: error: there is no directive `splti`; did you mean `split`?\n")


def test_doctor(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    assert f"te          {te.__version__} in " in out
    assert "its result is right" in out
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert all(rows[what] for what in ("pycuda", "GPU", "CUDA", "SASS", "emulator"))


def test_doctor_says_what_is_missing_for_gpus(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from te.backends.cuda import compile, device, toolkit

    def no_driver() -> Any:
        raise te.CudaUnavailable("there is no NVIDIA driver on this machine")

    device.device_numbered.cache_clear()
    monkeypatch.setattr(device, "driver", no_driver)
    monkeypatch.setattr(compile, "compiler_version", lambda: None)
    monkeypatch.setattr(toolkit, "find_program", lambda name: None)
    code, out, _ = run("doctor")
    assert code == 0
    assert "GPU         none to run on: there is no NVIDIA driver on this machine\n" in out
    assert "CUDA C++    none; `pip install nvidia-cuda-nvrtc`" in out
    assert "SASS        none; `pip install nvidia-cuda-nvdisasm`" in out


def test_doctor_of_an_installation_that_does_not_work(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from te.backends import llvm

    monkeypatch.setattr(llvm, "load", lambda artifact: 1 / 0)
    assert main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert "ZeroDivisionError" in captured.err
    assert "te does not work here" in captured.out


# ---------------------------------------------------------------- colour, pipes, bugs


def test_colour_on_a_terminal_only(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = run.file("bad.te", "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[j] }\n")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "\x1b[1;31merror: " in run("check", bad)[2]
    assert "\x1b[1;31merror:\x1b[0m nothing.te" in run("check", "nothing.te")[2]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("check", bad)[2]


def test_a_bug_says_how_to_report_it(
    run: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from te.backends import llvm

    def broken(*arguments: Any, **options: Any) -> Any:
        raise ValueError("lost")

    file = run.file("double.te", DOUBLE)
    monkeypatch.setattr(llvm, "emit", broken)
    assert main(["show", file, "double"]) == 70
    err = capsys.readouterr().err
    assert "ValueError: lost\nThis is a bug in te. Please report it" in err
    assert DOUBLE in err
    assert err.endswith("te: error: the command was: te show double.te double\n")


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    root = Path(te.__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-m", "te", *arguments],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_a_broken_pipe_ends_quietly(tmp_path: Path) -> None:
    file = tmp_path / "double.te"
    file.write_text(DOUBLE)
    process = start("show", str(file), "double", "--ir", "asm")
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert err == b""
    assert process.returncode == 141


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.te"
    os.mkfifo(fifo)
    # A background job inherits that interrupts are ignored.
    process = start("check", str(fifo), preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    writer = os.open(fifo, os.O_WRONLY)  # opens once `te` reads from the other end
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    os.close(writer)
    assert (out, err, process.returncode) == (b"", b"", 130)
