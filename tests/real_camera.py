"""The camera of a belt in real time: pictures that come late, or never, and seconds in which nobody is there."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from random import Random

import numpy as np
from small_bundle import photograph

from agent.simulation.belt import BeltPart


class Loss(Enum):
    """SILENT: it takes the request and nothing comes. REFUSES: nobody listens."""

    SILENT = "silent"
    REFUSES = "refuses"


class RealCamera:
    """Answers with what stood before it at the trigger. slow, lost: shares of pictures that come late (late_ms) or never."""

    def __init__(self, path: Path, parts: Mapping[int, BeltPart], slow: float, lost: float, late_ms: float, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._path = path
        self._parts = parts
        self._slow, self._lost, self._late_s = slow, lost, late_ms / 1000
        self._random = Random(seed)
        self._pictures = np.random.default_rng(seed)
        self._loss: tuple[Loss, int] | None = None
        self._stop = threading.Event()
        self._listener = self._listen()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> "RealCamera":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._listener.close()

    def lose(self, how: Loss, for_s: float) -> None:
        self.counts[f"made: camera {how.value} for seconds"] += 1
        self._loss = (how, time.monotonic_ns() + round(for_s * 1e9))

    def _listen(self) -> socket.socket:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(self._path))
        listener.listen(16)
        listener.settimeout(0.1)
        return listener

    def _show(self) -> None:
        while not self._stop.is_set():
            if (loss := self._loss) is not None:
                self._be_lost(*loss)
            with suppress(TimeoutError):
                asked, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(asked,), daemon=True).start()

    def _be_lost(self, how: Loss, until_ns: int) -> None:
        if how is Loss.REFUSES:
            self._listener.close()
        self._stop.wait(max(0.0, (until_ns - time.monotonic_ns()) / 1e9))
        if how is Loss.REFUSES:
            self._listener = self._listen()
        self._loss = None

    def _answer(self, asked: socket.socket) -> None:
        with asked, suppress(OSError):
            part, chance = self._parts.get(int(asked.recv(64))), self._random.random()
            if part is None or chance < self._lost:
                self.counts["made: picture lost"] += 1
                return
            if chance < self._lost + self._slow:
                self.counts["made: picture late"] += 1
                self._stop.wait(self._late_s)
            asked.send(photograph(self._pictures, part.is_bad).tobytes())
