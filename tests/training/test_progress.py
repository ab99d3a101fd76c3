"""Progress passes the items through and says how long they took."""

import io
import time

import pytest

from training.progress import Bars, Lines, progress_on


@pytest.mark.parametrize("reporter", [Bars, Lines])
def test_every_item_passes_and_the_stage_is_named(reporter) -> None:
    stream = io.StringIO()

    assert list(reporter(stream).track(range(5), "coreset")) == [0, 1, 2, 3, 4]

    assert "coreset" in stream.getvalue()
    assert "5" in stream.getvalue()


def test_a_file_gets_one_line_per_stage() -> None:
    stream = io.StringIO()

    list(progress_on(stream).track(range(5), "coreset"))

    assert stream.getvalue().count("\n") == 1
    assert "/s" in stream.getvalue()


def test_a_long_stage_says_soon_how_long_it_will_take() -> None:
    stream = io.StringIO()
    items = Lines(stream).track(range(1000), "student")

    [time.sleep(0.4) for _ in range(4) if next(items) >= 0]  # 400 s for a thousand

    assert stream.getvalue().startswith("student: 3 of 1000 (")
    assert stream.getvalue().endswith(" min left)\n")
