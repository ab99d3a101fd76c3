"""Since when a frame may have been there, for streams and for cameras that expose once a part."""

import pytest

from agent.cameras._arrival import Lateness, OnceAPart, Stream

MS = 1_000_000
PACE = list(range(0, 1000, 50))  # twenty frames a second


def behind(stream: Stream, arrived_ms: list[int]) -> list[int]:
    """For how long, in ms, each of these frames may have been there when it came."""
    return [(ms * MS - stream.earliest_ns(ms * MS)) // MS for ms in arrived_ms]


def test_frames_of_an_even_stream_have_just_come() -> None:
    assert behind(Stream(), PACE) == [0] * len(PACE)


def test_what_was_held_up_by_a_pause_may_be_as_old_as_the_pause_until_the_stream_has_its_pace_again() -> None:
    stream = Stream()
    behind(stream, PACE)

    assert behind(stream, [1950, 1960, 1970, 2020, 2070]) == [1000, 1010, 1020, 0, 0]


def test_a_stream_whose_pace_changes_is_believed_again() -> None:
    slower, faster = Stream(), Stream()
    behind(slower, PACE)
    behind(faster, PACE)

    slower_at_last = behind(slower, list(range(1000, 20_000, 900)))[-1]
    faster_at_last = behind(faster, list(range(1950, 4000, 10)))[-1]

    assert (slower_at_last, faster_at_last) == (0, 0)


def test_the_first_frames_of_a_stream_that_is_opened_anew_may_be_of_before() -> None:
    stream = Stream()
    behind(stream, PACE)
    stream.opened()

    assert behind(stream, [5000, 5001, 5002, 5052]) == [5000, 5001, 5002, 0]


def test_a_short_hesitation_is_no_pause() -> None:
    stream = Stream()
    behind(stream, PACE)

    assert behind(stream, [1190, 1191, 1240]) == [0, 0, 0]


@pytest.mark.parametrize(
    ("looks_ms", "may_wait_ms"),
    [
        ([(0, 100), (100, 200), (200, 250)], 0),
        ([(0, 100), (100, 200), (900, 900)], 700),
        ([(0, 100), (100, 200), (200, 900)], 700),
        ([(0, 100), (100, 200), (900, 900), (901, 901)], 701),
        ([(0, 100), (100, 200), (900, 900), (901, 951)], 0),
    ],
    ids=["looks on", "stood still", "stood still in its look", "the rest of what waited", "waited for it"],
)
def test_a_frame_has_just_come_where_somebody_looked(looks_ms: list[tuple[int, int]], may_wait_ms: int) -> None:
    arrival = OnceAPart(look_ns=100 * MS)
    [arrival.looked(asked * MS, answered * MS) for asked, answered in looks_ms]
    arrived_ns = looks_ms[-1][1] * MS

    assert (arrived_ns - arrival.earliest_ns(arrived_ns)) // MS == may_wait_ms


def late(steps_ms: list[tuple[float, float]]) -> list[int]:
    """After steps of the stream's time and of ours."""
    lateness, stamped, arrived, found = Lateness(), 0.0, 0.0, []
    for of_stream, of_ours in steps_ms:
        stamped, arrived = stamped + of_stream, arrived + of_ours
        found.append(round(lateness.of(stamped, arrived) / 10) * 10)
    return found


@pytest.mark.parametrize(
    ("steps_ms", "expected"),
    [
        ([(40, 40)] * 3, [0, 0, 0]),
        ([(40, 40), (40, 540), (40, 0), (40, 0)], [0, 500, 460, 420]),
        ([(40, 40), (40, 100), (40, 100), (40, 100)], [0, 60, 120, 180]),
        ([(40, 0), (40, 0), (40, 40), (40, 40)], [0, 0, 0, 0]),
        ([(40, 40), (9_000_000, 40), (40, 40), (-9_000_000, 40), (40, 40)], [0, 0, 0, 0, 0]),
        ([(40, 40), (3000, 3000), (40, 40)], [0, 0, 0]),
        ([(0, 40), (0, 5000), (0, 40)], [0, 0, 0]),
    ],
    ids=["at its pace", "held up", "reader too slow", "first ones at once", "set anew", "nothing for a while", "no time"],
)
def test_a_picture_is_as_late_as_it_has_waited_longer_than_the_quickest(
    steps_ms: list[tuple[float, float]], expected: list[int]
) -> None:
    assert late(steps_ms) == expected


def test_a_cameras_clock_that_is_slow_makes_its_pictures_no_later() -> None:
    """200 ppm, a hundred minutes."""
    assert max(late([(1000, 1000.2)] * 6000)) == 0
