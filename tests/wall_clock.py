"""A wall clock that the test sets, for the processes that it starts: libfaketime (Debian: faketime)."""

from pathlib import Path


def faked_by(file: Path) -> dict[str, str] | None:
    """Environment of processes whose wall clock shows what stands in a file; None where libfaketime is not installed.

    In the file is a time to stand at, or a distance such as `+1h`. CLOCK_MONOTONIC stays as it is.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        return None
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # its repair of waiting threads loses wake-ups
    }


def step(file: Path, to: str) -> None:
    """The wall clock jumps, at one moment for all."""
    file.with_suffix(".new").write_text(to)
    file.with_suffix(".new").rename(file)
