"""Which pictures of a stream are whole."""

import pytest

from agent.cameras._intact import Intact

PACE = [(50.0, kind, False) for kind in "IPPPPPPP"]


def whole(pictures: list[tuple[float, str, bool]]) -> str:
    """Of pictures so long after the one before, of this kind, with or without a complaint: `+` for each that is whole."""
    intact, stamped_ms, found = Intact(), 0.0, ""
    for step_ms, kind, complained in pictures:
        stamped_ms += step_ms
        found += "+" if intact.of(stamped_ms, kind, complained) else "-"
    return found


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ([(50, "P", False), (50, "B", False), (50, "I", False)], "+++"),
        ([(100, "P", False), (50, "P", False), (50, "I", False), (50, "P", False)], "--++"),
        ([(100, "I", False), (50, "P", False)], "++"),
        ([(70, "P", False), (30, "P", False)], "++"),
        ([(50, "P", True), (50, "P", False), (50, "P", False), (50, "I", False), (50, "P", False)], "---++"),
        ([(50, "P", True), (50, "I", False), (50, "P", False), (50, "P", False), (50, "I", False)], "----+"),
        ([(50, "I", True), (50, "P", False), (50, "P", False), (50, "P", False), (50, "I", False)], "----+"),
        ([(100, "?", False), (50, "?", True), (50, "?", False), (50, "?", False), (50, "?", False)], "+---+"),
        ([(-5000, "P", False), (50, "P", False)], "++"),
    ],
    ids=["all there", "one is missing", "before a key picture", "uneven", "damaged", "of the one behind", "a key picture damaged",
         "each alone", "time set anew"],
)  # fmt: skip
def test_what_follows_a_lost_or_damaged_picture_is_not_whole_until_a_key_picture(
    then: list[tuple[float, str, bool]], expected: str
) -> None:
    assert whole(PACE + then) == "+" * len(PACE) + expected


def test_a_stream_without_time_is_believed_until_its_decoder_complains() -> None:
    assert whole([(0, "I", False), *[(0, "P", False)] * 20, (0, "P", True)]) == "+" * 21 + "-"


def test_a_stream_that_becomes_slower_is_believed_again() -> None:
    slower = [(120.0, "I" if n % 10 == 9 else "P", False) for n in range(40)]

    assert whole(PACE + slower).endswith("+" * 20)
