"""The journal after every way of ending: what was open or unconfirmed is there again."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from kensa_process import python

from agent.gate.journal import Journal, Way
from agent.inspection import Cause, Closed, Outcome, Part, Verdict

MACHINE = "machine-boot-1"
REJECT = Verdict(Outcome.REJECT, Cause.SCORE, "score 1.2, größer")


def part(n: int) -> Part:
    return Part("boot", n)


def closed(n: int) -> Closed:
    return Closed(part(n), REJECT, triggered_ns=n, planned_ns=n + 1000, actual_ns=n + 1001)


def segments(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def see_through(journal: Journal, parts: range) -> None:
    """Each part opened, closed and confirmed, one after the other."""
    for n in parts:
        journal.opened(part(n), n)
        journal.closed(closed(n))
        journal.confirmed((part(n),))


def close_unheard(journal: Journal, parts: range) -> None:
    """Each part opened and closed, and nobody there to confirm it."""
    for n in parts:
        journal.opened(part(n), n)
        journal.closed(closed(n))


@pytest.fixture
def journals() -> Iterator[ExitStack]:
    """Closes at the end of the test what was left open, as a kill leaves it."""
    with ExitStack() as left_open:
        yield left_open


def test_a_killed_process_finds_its_parts_again(tmp_path: Path, journals: ExitStack) -> None:
    killed = journals.enter_context(Journal(tmp_path, MACHINE))
    killed.opened(part(1), 1)
    killed.opened(part(2), 2)
    killed.closed(closed(1))

    again = journals.enter_context(Journal(tmp_path, MACHINE))

    assert again.left_open == {part(2): (2, True)}
    assert again.unconfirmed == {part(1): closed(1)}


def test_a_segment_that_the_disk_cannot_give_back_is_set_aside_and_named_and_the_others_count(
    tmp_path: Path, journals: ExitStack
) -> None:
    killed = journals.enter_context(Journal(tmp_path, MACHINE))
    killed.opened(part(1), 1)
    (tmp_path / "00000007.journal").symlink_to("00000007.journal")  # whoever reads it gets an error of the system

    again = journals.enter_context(Journal(tmp_path, MACHINE))
    again.opened(part(2), 2)

    assert again.unreadable == ["00000007.journal"]
    assert set(again.left_open) == {part(1), part(2)}
    assert segments(tmp_path) == ["00000001.journal", "00000007.unreadable", "00000008.journal"]


def test_a_process_killed_by_the_kernel_loses_nothing_it_was_told(tmp_path: Path) -> None:
    writes_and_is_killed = (
        "import os, sys; from pathlib import Path; from agent.gate.journal import Journal; from agent.inspection import Part\n"
        "journal = Journal(Path(sys.argv[1]), 'machine-boot-1', patience_s=10)\n"
        "[journal.opened(Part('boot', n), n) for n in range(100)]\n"
        "os.kill(os.getpid(), 9)"
    )
    python("-c", writes_and_is_killed, str(tmp_path))

    with Journal(tmp_path, MACHINE) as journal:
        assert list(journal.left_open) == [part(n) for n in range(100)]


def test_the_time_of_a_part_from_before_a_reboot_is_known_to_mean_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path, MACHINE) as journal:
        journal.opened(part(1), 1)

    with Journal(tmp_path, "machine-boot-2") as journal:
        assert journal.left_open == {part(1): (1, False)}


def test_confirmed_parts_do_not_come_back(tmp_path: Path) -> None:
    with Journal(tmp_path, MACHINE) as journal:
        journal.opened(part(1), 1)
        journal.closed(closed(1))
        journal.confirmed((part(1), part(99)))

    with Journal(tmp_path, MACHINE) as journal:
        assert (journal.unconfirmed, journal.left_open) == ({}, {})


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_record_is_left_out_and_what_is_written_later_is_kept(tmp_path: Path, cut: int) -> None:
    with Journal(tmp_path, MACHINE) as journal:
        journal.opened(part(1), 1)
        journal.opened(part(2), 2)
    last = tmp_path / segments(tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:-cut])

    with Journal(tmp_path, MACHINE) as journal:
        journal.opened(part(3), 3)

    with Journal(tmp_path, MACHINE) as journal:
        assert {part(1), part(3)} <= set(journal.left_open)


@pytest.mark.parametrize(
    "rubbish", [b"\0" * 100, b"\xff\xfe\n\xfa", b'{"type":"opened","part":{"boot":"\xf7"', b"{}", b"[1]\n"], ids=repr
)
def test_rubbish_at_the_end_of_a_file_does_not_keep_the_process_from_starting(tmp_path: Path, rubbish: bytes) -> None:
    with Journal(tmp_path, MACHINE) as journal:
        journal.opened(part(1), 1)
    with (tmp_path / segments(tmp_path)[-1]).open("ab") as out:
        out.write(rubbish)

    with Journal(tmp_path, MACHINE) as journal:
        assert journal.left_open == {part(1): (1, True)}


def test_finished_files_are_deleted(tmp_path: Path) -> None:
    with Journal(tmp_path, MACHINE, segment_bytes=400) as journal:
        see_through(journal, range(100))

    assert len(segments(tmp_path)) <= 2


def test_a_part_that_stays_open_keeps_its_file(tmp_path: Path) -> None:
    with Journal(tmp_path, MACHINE, segment_bytes=400) as journal:
        journal.opened(part(0), 0)
        see_through(journal, range(1, 50))

    with Journal(tmp_path, MACHINE) as journal:
        assert journal.left_open == {part(0): (0, True)}


def test_beyond_its_capacity_the_oldest_are_given_up_and_counted(tmp_path: Path) -> None:
    with Journal(tmp_path, MACHINE, capacity=3) as journal:
        close_unheard(journal, range(5))

        assert list(journal.unconfirmed) == [part(2), part(3), part(4)]
        assert journal.given_up == 2

    with Journal(tmp_path, MACHINE) as journal:
        assert list(journal.unconfirmed) == [part(2), part(3), part(4)]


class JournalAgainstADictionary(RuleBasedStateMachine):
    """Any sequence of a gate's calls, with kills between them, compared with what a dictionary remembers."""

    @initialize(segment_bytes=st.sampled_from([1, 150, 400, 1500]))
    def start(self, segment_bytes: int) -> None:
        self.folder = TemporaryDirectory(prefix="k")
        self.segment_bytes = segment_bytes
        self.open_parts: dict[Part, tuple[int, bool]] = {}
        self.unconfirmed: dict[Part, Closed] = {}
        self.n = 0
        self.journal = Journal(Path(self.folder.name), MACHINE, segment_bytes=segment_bytes)

    @rule()
    def open_a_part(self) -> None:
        self.n += 1
        self.journal.opened(part(self.n), self.n)
        self.open_parts[part(self.n)] = (self.n, True)

    @precondition(lambda self: self.open_parts)
    @rule(data=st.data())
    def close_a_part(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(sorted(self.open_parts)))
        self.journal.closed(closed(chosen.n))
        del self.open_parts[chosen]
        self.unconfirmed[chosen] = closed(chosen.n)

    @precondition(lambda self: self.unconfirmed)
    @rule(data=st.data())
    def confirm_some(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.unconfirmed)), unique=True, min_size=1))
        self.journal.confirmed(tuple(chosen))
        self.unconfirmed = {known: record for known, record in self.unconfirmed.items() if known not in chosen}

    @rule()
    def kill_and_start_again(self) -> None:
        self.journal.__exit__(None, None, None)  # all is written already: the same bytes as after a kill
        self.journal = Journal(Path(self.folder.name), MACHINE, segment_bytes=self.segment_bytes)

    @invariant()
    def remembers_the_same(self) -> None:
        assert self.journal.left_open == self.open_parts
        assert self.journal.unconfirmed == self.unconfirmed

    def teardown(self) -> None:
        self.kill_and_start_again()
        self.remembers_the_same()
        self.journal.__exit__(None, None, None)
        self.folder.cleanup()


class TestAnySequenceOfCallsAndKills(JournalAgainstADictionary.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=60, stateful_step_count=40)


def test_a_full_disk_costs_the_line_nothing_and_is_counted(tmp_path: Path) -> None:
    """In a process of its own, whose files may grow to 2000 bytes and no further."""
    code = f"""
import resource, signal
from pathlib import Path
from gate.test_journal import MACHINE, Journal, close_unheard
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
journal = Journal(Path({str(tmp_path)!r}), MACHINE, patience_s=10)
close_unheard(journal, range(1, 101))
print(len(journal.unconfirmed), journal.unwritten > 0)
"""

    finished = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    with Journal(tmp_path, MACHINE) as after:
        found = sorted(p.n for p in after.unconfirmed)

    assert finished.stdout.split() == ["100", "True"], finished.stderr
    assert found == list(range(1, len(found) + 1))
    assert 1 <= len(found) < 100


def test_what_a_full_disk_did_not_take_is_there_after_a_kill_once_it_takes_more(tmp_path: Path) -> None:
    """Full just as a segment begins, and free again for weeks: the next process must know which parts are still on the belt."""
    code = f"""
import os, resource, signal
from pathlib import Path
from gate.test_journal import MACHINE, Journal, close_unheard, part
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
journal = Journal(Path({str(tmp_path)!r}), MACHINE, patience_s=10)
close_unheard(journal, range(1, 11))
journal.confirmed(tuple(map(part, range(1, 11))))
journal.opened(part(11), 1100)
resource.setrlimit(resource.RLIMIT_FSIZE, before)
journal.opened(part(12), 1200)
os.kill(os.getpid(), signal.SIGKILL)
"""

    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, check=False)
    with Journal(tmp_path, MACHINE) as after:
        found = after.left_open, list(after.unconfirmed)

    assert found == ({part(11): (1100, True), part(12): (1200, True)}, [])


def test_of_what_a_full_disk_does_not_take_the_oldest_is_given_up_but_not_to_which_boot_the_times_belong(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from pathlib import Path
from gate.test_journal import MACHINE, Journal, part
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
journal = Journal(Path({str(tmp_path)!r}), MACHINE, patience_s=10)
[journal.opened(part(n), n) for n in range(1, 2000)]
resource.setrlimit(resource.RLIMIT_FSIZE, before)
journal.opened(part(2000), 2000)
print(journal.unwritten)
"""

    finished = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    with Journal(tmp_path, MACHINE) as after:
        found = after.left_open

    assert int(finished.stdout) == 1999
    assert found == {part(n): (n, True) for n in range(1001, 2001)}


def test_a_closed_parts_recipe_outlives_a_kill(tmp_path: Path) -> None:
    of_a_recipe = Closed(part(1), Verdict(Outcome.PASS, Cause.SCORE, ""), 1, 2, None, recipe=2)
    during_a_change_over = Closed(part(2), Verdict(Outcome.REJECT, Cause.FAULT, ""), 1, 2, 2, recipe=None)
    with Journal(tmp_path / "journal", "machine") as journal:
        journal.closed(of_a_recipe)
        journal.closed(during_a_change_over)

    with Journal(tmp_path / "journal", "machine") as again:
        assert list(again.unconfirmed.values()) == [of_a_recipe, during_a_change_over]


def test_the_way_of_an_open_part_outlives_a_kill_and_that_of_an_older_version_is_not_known(tmp_path: Path) -> None:
    with Journal(tmp_path, MACHINE) as journal:
        journal.opened(part(1), 1, Way(delay_ns=580, recipe=2))
        journal.opened(part(2), 2, Way(delay_ns=580, recipe=None))
        journal.opened(part(3), 3, Way(delay_ns=580, recipe=2))
        journal.closed(closed(3))
    with (tmp_path / segments(tmp_path)[-1]).open("ab") as out:
        out.write(b'{"type":"opened","part":{"boot":"boot","n":4},"triggered_ns":4}\n')

    with Journal(tmp_path, MACHINE) as again:
        assert again.left_open == {part(1): (1, True), part(2): (2, True), part(4): (4, True)}
        assert again.ways == {part(1): Way(580, 2), part(2): Way(580, None)}
