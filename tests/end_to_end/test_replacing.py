"""Files that are replaced at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from te.runtime.replacing import replacing


def test_the_old_content_stays_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_what_ends_it_early_leaves_nothing(tmp_path: Path, problem: type[BaseException]) -> None:
    path = tmp_path / "file"

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise problem

    with pytest.raises(problem):
        write_half()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "none" / "file"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        for name, mode, expected in (("all", 0o666, 0o644), ("own", 0o600, 0o600)):
            with replacing(tmp_path / name, mode) as file:
                file.write(b"")
            assert os.stat(tmp_path / name).st_mode & 0o777 == expected
    finally:
        os.umask(before)
