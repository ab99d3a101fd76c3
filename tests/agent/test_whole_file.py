"""A file is there with all of its content, or as it was before."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.whole_file import sync, write_whole


@contextmanager
def no_file_above(n_bytes: int) -> Iterator[None]:
    """As a full disk: what goes beyond is refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_content_replaces_what_was_there_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before")

    write_whole(tmp_path / "file", b"after")
    sync(tmp_path)

    assert (tmp_path / "file").read_bytes() == b"after"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_disk_without_room_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before")

    with no_file_above(100), pytest.raises(OSError, match="File too large"):
        write_whole(tmp_path / "file", bytes(1000))

    assert (tmp_path / "file").read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_what_a_kill_left_unfinished_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".file.part").write_bytes(b"half of")

    write_whole(tmp_path / "file", b"all")

    assert (tmp_path / "file").read_bytes() == b"all"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("private", "others_may"), [(True, 0), (False, 0o044)], ids=["private", "for all"])
def test_only_what_is_private_is_hidden_from_others(tmp_path: Path, private: bool, others_may: int) -> None:
    (tmp_path / ".file.part").touch(0o666)  # as an older version may have left it

    write_whole(tmp_path / "file", b"a secret", private)

    assert (tmp_path / "file").stat().st_mode & 0o044 == others_may
