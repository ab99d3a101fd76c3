"""Large images with small defects: judged tile by tile with one model, on the workstation and on the device alike."""

import numpy as np
from numpy.typing import NDArray

from agent.inspection import AnomalyMap, Depth, Image
from agent.preprocess import InputContract, looked_at
from agent.runtimes import Runtime
from agent.tiles import Tiles


def tiled(runtime: Runtime, contract: InputContract) -> Runtime:
    """The runtime for prepared images of the contract: itself, or around it one that cuts them into tiles."""
    return runtime if contract.tiles is None else Tiled(runtime, contract.tiles, looked_at(contract))


class Tiled:
    """A runtime for whole images around one for tiles; one tile at a time, so memory does not grow with the image.

    The score is the largest of the tiles', and so is each cell of the map: what two tiles see is judged by the stranger view.
    looked_at: of each tile, whether it is inspected at all; the map is lowest in the others.
    """

    def __init__(self, runtime: Runtime, tiles: Tiles, looked_at: NDArray[np.bool_]) -> None:
        self._runtime = runtime
        self._tiles = tiles
        self._chosen = np.flatnonzero(looked_at).tolist()

    @property
    def executed_precision(self) -> str:
        return self._runtime.executed_precision

    @property
    def executed_on(self) -> str:
        return self._runtime.executed_on

    def infer(self, image: Image, depth: Depth | None = None) -> tuple[float, AnomalyMap]:
        del depth  # no method that looks at depth can be tiled
        judged = [self._runtime.infer(np.ascontiguousarray(self._tiles.cut(image, k))) for k in self._chosen]
        h, w = judged[0][1].shape
        rows, columns = self._cell(self._tiles.height, h), self._cell(self._tiles.width, w)
        whole = np.full((rows, columns), min(part.min() for _, part in judged), dtype=np.float32)
        for k, (_, part) in zip(self._chosen, judged, strict=True):
            x, y = self._tiles.place(k)
            row, column = self._cell(y, h), self._cell(x, w)
            window = whole[row : row + h, column : column + w]
            np.maximum(window, part, out=window)  # not a number stays not a number
        return float(np.max([raw for raw, _ in judged])), whole

    def _cell(self, px: int, cells: int) -> int:
        """Where a pixel of the prepared image lies on the map's grid; cells: of one tile."""
        return round(px * cells / self._tiles.size)
