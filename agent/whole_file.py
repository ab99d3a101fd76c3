"""Files that are there with all of their content, or as they were before, whatever ends the process or the power."""

import os
from pathlib import Path


def write_whole(file: Path, content: bytes, private: bool = False) -> None:
    """On the disk when it returns; that its name shows it after a power cut too, `sync` of its folder sees to.

    private: nobody else can read it, not even for a moment. One writer per file. Raises OSError, and then leaves nothing behind.
    """
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """A file's content, or the names in a folder, outlive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
