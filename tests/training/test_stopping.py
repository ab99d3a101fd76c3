"""SIGTERM within the block is Ctrl-C; outside of it nothing has changed."""

import signal
from collections.abc import Iterator

import pytest

from training.stopping import sigterm_as_ctrl_c


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["heeded", "ignored"])
def ctrl_c(request: pytest.FixtureRequest) -> Iterator[None]:
    """As a terminal and as a shell's background job have it."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


def test_sigterm_interrupts_as_ctrl_c_does(ctrl_c: None) -> None:
    with pytest.raises(KeyboardInterrupt), sigterm_as_ctrl_c():
        signal.raise_signal(signal.SIGTERM)


def test_the_handler_of_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with sigterm_as_ctrl_c():
        within = signal.getsignal(signal.SIGTERM)

    assert within != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_processes_of_torchrun_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = signal.getsignal(signal.SIGTERM)

    with sigterm_as_ctrl_c():
        assert signal.getsignal(signal.SIGTERM) == before
