"""What counts as a command: whatever is said, it is understood or refused, and nothing else happens."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.broker.remote_command import (
    FAR_AHEAD,
    HARMLESS,
    LARGEST_BYTES,
    MOST_REMEMBERED,
    TABLE,
    Command,
    Pause,
    RefusedError,
    Remembered,
    Replay,
    Why,
    understand,
)

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=timezone.utc)
SOON = (NOW + timedelta(minutes=1)).isoformat()
BROKEN = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "expires", "from", "x"]), inner),
        max_leaves=8,
    ).map(lambda content: json.dumps(content).encode()),
    st.fixed_dictionaries(
        {"id": st.text(max_size=70), "expires": st.datetimes(timezones=st.timezones()).map(datetime.isoformat)},
        optional={"from": st.integers(), "to": st.integers(), "stream": st.text(), "reason": st.text(max_size=300)},
    ).map(lambda content: json.dumps(content).encode()),
    st.integers(1, 3000).map(lambda depth: b"[" * depth),
)


def payload(**content: Any) -> bytes:
    return json.dumps({"id": "a1", "expires": SOON, **content}).encode()


def understood_or_refused(name: str, said: bytes) -> Command | RefusedError:
    try:
        return understand(name, said, TABLE, NOW)
    except RefusedError as e:
        return e


def is_taken(remembered: Remembered, order: tuple[int, int], now: datetime) -> bool:
    try:
        remembered.take(Pause(id=str(order[0]), expires=now + timedelta(seconds=order[1])), now)
    except RefusedError:
        return False
    return True


def refusal(name: str, said: bytes) -> Why:
    with pytest.raises(RefusedError) as caught:
        understand(name, said, TABLE, NOW)
    return caught.value.why


def test_a_command_is_understood_with_what_belongs_to_it() -> None:
    pause = understand("pause", payload(reason="change of product"), TABLE, NOW)
    replay = understand("replay", payload(**{"stream": "f00d", "from": 1, "to": 9}), TABLE, NOW)

    assert pause == Pause(id="a1", expires=NOW + timedelta(minutes=1), reason="change of product")
    assert isinstance(replay, Replay)
    assert (replay.first, replay.last) == (1, 9)


@pytest.mark.parametrize(
    ("name", "said", "why"),
    [
        ("stop", payload(), Why.UNKNOWN),
        ("pause", payload(expires=NOW.isoformat()), Why.LATE),
        ("pause", payload(expires=(NOW + FAR_AHEAD + timedelta(seconds=1)).isoformat()), Why.FAR_AHEAD),
        ("pause", payload(expires="2026-11-21T09:31:00"), Why.MALFORMED),
        ("pause", payload(id=""), Why.MALFORMED),
        ("pause", payload(id="two words"), Why.MALFORMED),
        ("pause", payload(id="x" * 65), Why.MALFORMED),
        ("pause", payload(reason="x" * 201), Why.MALFORMED),
        ("pause", payload(until="tomorrow"), Why.MALFORMED),
        ("pause", payload(id=7), Why.MALFORMED),
        ("pause", b"", Why.MALFORMED),
        ("pause", b"\xff", Why.MALFORMED),
        ("pause", b"[" * 3000, Why.MALFORMED),
        ("pause", payload() + b" " * LARGEST_BYTES, Why.MALFORMED),
        ("replay", payload(), Why.MALFORMED),
        ("replay", payload(**{"stream": "s", "from": 0, "to": 1}), Why.MALFORMED),
        ("replay", payload(**{"stream": "s", "from": 1, "to": 2**63}), Why.MALFORMED),
    ],
    ids=[
        "no such command",
        "late",
        "too far ahead",
        "no time zone",
        "empty id",
        "id with a space",
        "long id",
        "long reason",
        "unknown field",
        "id is a number",
        "empty",
        "no text",
        "deep",
        "oversized",
        "nothing to replay",
        "number below one",
        "number beyond 64 bit",
    ],
)
def test_what_is_no_command_is_refused_with_its_reason(name: str, said: bytes, why: Why) -> None:
    assert refusal(name, said) is why


@pytest.mark.parametrize("name", ["pause", "resume", "reload"])
def test_what_decides_about_parts_is_not_obeyed_unless_asked_for(name: str) -> None:
    with pytest.raises(RefusedError, match=r"mqtt: \{commands") as caught:
        understand(name, payload(), HARMLESS, NOW)

    assert caught.value.why is Why.NOT_ENABLED


@given(name=st.sampled_from(sorted(TABLE)) | st.text(), said=BROKEN)
def test_n13_whatever_is_said_is_a_command_in_time_or_is_refused(name: str, said: bytes) -> None:
    understood = understood_or_refused(name, said)

    assert isinstance(understood, RefusedError) or NOW < understood.expires <= NOW + FAR_AHEAD


def test_a_command_is_obeyed_once() -> None:
    remembered, command = Remembered(), Pause(id="a1", expires=NOW + timedelta(minutes=1))
    remembered.take(command, NOW)

    with pytest.raises(RefusedError, match="obeyed already"):
        remembered.take(command, NOW + timedelta(seconds=59))


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 600)), max_size=400))
def test_no_more_ids_are_remembered_than_the_bound_and_none_longer_than_it_counts(orders: list[tuple[int, int]]) -> None:
    remembered, end = Remembered(), NOW + timedelta(seconds=len(orders))

    taken = sum(is_taken(remembered, order, NOW + timedelta(seconds=n)) for n, order in enumerate(orders, start=1))

    assert len(remembered.until) <= min(taken, MOST_REMEMBERED)
    assert all(expires > end - timedelta(seconds=1) for expires in remembered.until.values())


def test_too_many_commands_within_their_time_are_refused() -> None:
    remembered = Remembered({str(n): NOW + FAR_AHEAD for n in range(MOST_REMEMBERED)})

    with pytest.raises(RefusedError, match="wait"):
        remembered.take(Pause(id="one more", expires=NOW + FAR_AHEAD), NOW)
