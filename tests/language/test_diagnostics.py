"""How diagnostics print: places, long lines, what would disturb a terminal."""

from te.diagnostics import Note, Source, Span, counted, error, render


def shown(text: str, start: int, end: int) -> list[str]:
    return render(error("x", "wrong", Span(Source("a.te", text), start, end), "here")).splitlines()


def test_carets_stand_under_the_span_whatever_comes_before():
    lines = shown("a\tb = \x1b[31m c", 2, 3)
    assert lines[3].index("b") == lines[4].index("^")
    assert "\x1b" not in lines[3]
    assert "\\x1b" in lines[3]


def test_long_lines_are_clipped_round_the_span():
    lines = shown("x" * 5000 + "HERE" + "y" * 1_000_000, 5000, 5004)
    assert all(len(line) < 250 for line in lines)
    assert lines[3].index("HERE") == lines[4].index("^")


def test_a_span_over_several_lines_marks_the_first():
    lines = shown("ab\ncd\nef", 1, 7)
    assert lines[3].endswith("ab")
    assert lines[4].endswith("^ here")


def test_an_empty_span_at_the_end_has_one_caret():
    assert shown("ab", 2, 2)[4].endswith("  ^ here")


def test_notes_follow_their_diagnostic():
    source = Source("a.te", "one\ntwo\n")
    text = render(error("x", "wrong", Span(source, 4, 7), notes=[Note(Span(source, 0, 3), "first")]))
    assert text.index("a.te:2:1") < text.index("a.te:1:1")
    assert "--- first" in text


def test_counts():
    assert [counted(1, "axis"), counted(2, "axis"), counted(0, "argument")] == [
        "1 axis",
        "2 axes",
        "0 arguments",
    ]
