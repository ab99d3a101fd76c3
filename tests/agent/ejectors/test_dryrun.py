"""The ejector that moves nothing counts what it would have moved."""

import pytest

from agent.ejectors.dryrun import Config, DryRun


def test_it_opens_with_its_output_off() -> None:
    with Config().open() as ejector:
        assert (ejector.is_on, ejector.pulses) == (False, 0)


def test_a_pulse_is_counted_when_it_begins_and_a_longer_one_is_still_one() -> None:
    with Config().open() as ejector:
        ejector.switch(on=True, now_ns=1)
        ejector.switch(on=True, now_ns=1)
        ejector.switch(on=False, now_ns=1)
        ejector.switch(on=True, now_ns=1)

        assert ejector.pulses == 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_its_output_is_off_afterwards_whatever_happened(error: type[BaseException]) -> None:
    seen: list[DryRun] = []

    def fails_while_it_is_on() -> None:
        with Config().open() as ejector:
            seen.append(ejector)
            ejector.switch(on=True, now_ns=1)
            raise error

    with pytest.raises(error):
        fails_while_it_is_on()

    assert not seen[0].is_on
