"""Broken files are kept for people, a few of them."""

from pathlib import Path

from agent.set_aside import is_saved, set_aside, take_away, unsaved


def broken(folder: Path, content: str) -> Path:
    """A database with its journal; its place once it was set aside."""
    for part in ("", "-wal"):
        (folder / f"a.db{part}").write_text(content + part)
    return set_aside(folder / "a.db")


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_s4_a_broken_file_goes_with_its_journal_and_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.db.broken-3").write_text("of last year")

    away = broken(tmp_path, "new")

    assert names(tmp_path) == ["a.db.broken-3", "a.db.broken-4", "a.db.broken-4-wal"]
    assert (away.name, away.read_text()) == ("a.db.broken-4", "new")
    assert (tmp_path / "a.db.broken-3").read_text() == "of last year"


def test_s1_a_disk_that_breaks_file_after_file_does_not_fill_with_them(tmp_path: Path) -> None:
    (tmp_path / "another.db.broken-0").write_text("not ours")

    for n in range(12):
        broken(tmp_path, str(n))

    kept = [f"a.db.broken-{n}{part}" for n in (10, 11, 9) for part in ("", "-wal")]
    assert names(tmp_path) == sorted([*kept, "another.db.broken-0"])


def test_s4_an_old_one_that_cannot_be_deleted_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "a.db.broken-0").mkdir()

    for n in range(4):
        broken(tmp_path, str(n))

    assert {"a.db.broken-0", "a.db.broken-2", "a.db.broken-3", "a.db.broken-4"} <= set(names(tmp_path))
    assert not (tmp_path / "a.db").exists()


def test_s4_a_kill_while_a_broken_file_is_taken_away_parts_it_from_no_journal(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("broken")
    (tmp_path / "a.db.unsaved-wal").write_text("its journal, moved already")

    away = unsaved(tmp_path / "a.db")

    assert away == tmp_path / "a.db.unsaved"
    assert names(tmp_path) == ["a.db.unsaved", "a.db.unsaved-wal"]


def test_s4_a_broken_file_is_unsaved_until_somebody_says_that_it_is_saved(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("broken")

    take_away(tmp_path / "a.db")
    (tmp_path / "a.db").write_text("the new one, broken before all was in it")
    take_away(tmp_path / "a.db")
    waits = unsaved(tmp_path / "a.db")
    saved = is_saved(tmp_path / "a.db")

    assert waits == tmp_path / "a.db.unsaved"
    assert (saved.name, saved.read_text()) == ("a.db.broken-1", "broken")
    assert unsaved(tmp_path / "a.db") is None
    assert names(tmp_path) == ["a.db.broken-0", "a.db.broken-1"]
