"""Files that are there with all of their content, or as they were before."""

import os
from pathlib import Path


def write_whole(file: Path, content: bytes) -> None:
    """On the disk when it returns. Raises OSError, and then leaves nothing behind."""
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
