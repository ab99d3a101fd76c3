"""Parts in the record of a page, as its inspection would have kept them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from record_filler import kept
from served import Served

from agent.observation.picture import lossless
from agent.record.album import Album, open_index, place
from agent.record.record import FOLDER
from agent.record.table import Worth
from agent.sections import KeepImages

UTC = "2026-11-21T09:30:00.000000Z"


def fill(page: Served, photographs: Sequence[NDArray[np.uint8]], worth: Worth = Worth.REJECT) -> list[int]:
    """Their numbers, the newest last."""
    folder, numbers = page.state / FOLDER, []
    with open_index(folder) as index:
        album = Album(folder, index, KeepImages(mb=100, leave_free_mb=0))
        for photograph in photographs:
            image, number = lossless(photograph), album.next_number()
            file = place(number, worth, UTC, f"boot/{number}", "top")
            album.add(kept(number, worth, album.cost(image, b""), file), image, b"")
            numbers.append(number)
    return numbers
