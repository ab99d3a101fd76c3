"""The folder in which runtimes keep what they compiled, so that the next start is faster; bounded, and safe to delete."""

from pathlib import Path

FOLDER, MOST_BYTES = "compiled", 2 << 30


def compiled_folder(state: Path, most_bytes: int = MOST_BYTES) -> Path:
    """The folder, with the files used least recently removed until the rest is within bounds.

    Runtimes write there themselves, so the bound holds from one start to the next, not in between.
    """
    folder = state / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(((file.stat(), file) for file in folder.rglob("*") if file.is_file()), key=lambda pair: pair[0].st_mtime_ns)
    too_many = sum(status.st_size for status, _ in files) - most_bytes
    for status, file in files:
        if too_many <= 0:
            break
        file.unlink(missing_ok=True)
        too_many -= status.st_size
    return folder
