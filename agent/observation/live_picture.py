"""The pictures of a part for the live view: made of the newest part only, seldom, and never while the line is short of time."""

from agent.inspection import Fault, Part, Prediction, Reading, Shot
from agent.observation.picture import heat_over, small_photograph
from agent.observation.seen import Seen
from agent.preprocess import InputContract

_PICTURES_A_SECOND = 10 / 3  # of all cameras together


class LivePicture:
    """not_shown: parts whose turn it was while the line needed the processor."""

    def __init__(self) -> None:
        self.newest: Seen | None = None
        self.not_shown = 0
        self._next_ns = 0

    def of(self, part: Part, now_ns: int, is_pressed: bool) -> list[tuple[bytes, bytes]]:
        """JPEG and heat map of each camera, or an empty list where this part has no picture."""
        newest = self.newest
        if newest is None or newest.part != part or now_ns < self._next_ns:
            return []
        if all(isinstance(shot.image, Fault) for shot in newest.shots):
            return []
        if is_pressed:
            self.not_shown += 1
            return []
        self._next_ns = now_ns + round(len(newest.shots) / _PICTURES_A_SECOND * 1e9)
        return list(map(_pictures, newest.shots, newest.readings, newest.contracts))


def _pictures(shot: Shot, reading: Reading, contract: InputContract) -> tuple[bytes, bytes]:
    if isinstance(shot.image, Fault):
        return b"", b""
    heat = b""
    if isinstance(reading, Prediction):
        heat = heat_over(shot.image, reading.anomaly_map, reading.score, contract)
    return small_photograph(shot.image), heat
