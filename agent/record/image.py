"""The photograph of a part that was kept, for who asks for it from afar."""

import sqlite3
from pathlib import Path

from agent.observation.picture import small_photograph
from agent.preprocess import RefusedImageError, read_image, to_8_bit
from agent.record.gallery import Gallery
from agent.record.table import IMAGES, INDEX


def photograph_of(folder: Path, part: str) -> bytes:
    """JPEG of the part's photograph. folder: of the record. Raises LookupError with the reason where there is none."""
    if not (folder / INDEX).exists():
        raise LookupError("this station keeps no images (section `record` of its file)")
    try:
        with Gallery(folder) as gallery:
            kept = gallery.of_part(part)
        if kept is None:
            raise LookupError(f"no image of {part} is kept: it was not worth it, or had to make room, or there was none")
        return small_photograph(to_8_bit(read_image(folder / IMAGES / kept.file), 255))
    except (sqlite3.Error, OSError, RefusedImageError) as e:
        raise LookupError(f"the image of {part} cannot be read: {e}") from e
