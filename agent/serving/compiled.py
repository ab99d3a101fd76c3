"""The folders in which runtimes keep what they compiled, so that the next start is faster; bounded, and safe to delete.

One folder for each model: TensorRT's provider names an engine by the shape of its graph, so that in one folder a model that was
trained again would run the old weights (onnxruntime issue 6455).
"""

import logging
import stat
from contextlib import suppress
from pathlib import Path

FOLDER, MOST_BYTES = "compiled", 2 << 30

log = logging.getLogger(__name__)


def compiled_folder(state: Path, model_sha256: str, most_bytes: int = MOST_BYTES) -> Path | None:
    """The model's folder, with the oldest files of all models removed until the rest is within bounds; None where the disk takes
    nothing, and a start only takes longer.

    Runtimes write there themselves, so the bound holds from one start to the next, not in between.
    """
    folder = state / FOLDER / model_sha256
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _tidy(state / FOLDER, most_bytes)
    except OSError as e:
        log.warning("%s: %s: what is compiled is not kept", folder, e.strerror or e)
        return None
    return folder


def _tidy(folder: Path, most_bytes: int) -> None:
    found = []
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a station and an installation may tidy up at the same time
            found.append((file.stat(), file))
    files = sorted((one for one in found if stat.S_ISREG(one[0].st_mode)), key=lambda one: one[0].st_mtime_ns)
    too_many = sum(status.st_size for status, _ in files) - most_bytes
    for status, file in files:
        if too_many <= 0:
            break
        file.unlink(missing_ok=True)
        too_many -= status.st_size
