"""What a frozen network says of good parts, so that it is asked only once of each while memory allows."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LIMIT_BYTES = 2**29


class Kept:
    """Answers kept in main memory, at most `limit_bytes` of them; of the parts beyond, computed each time anew.

    Each part is asked alone and in full precision, so that a resumed fit finds the same numbers whatever batch it begins with.
    answer: of the part with this number, tensors of one row. device: where batches are wanted.
    """

    def __init__(self, answer: Callable[[int], tuple[Tensor, ...]], device: torch.device, limit_bytes: int = LIMIT_BYTES) -> None:
        self._answer = answer
        self._device = device
        self._free_bytes = limit_bytes
        self._kept: dict[int, tuple[Tensor, ...]] = {}

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """The answers, each as a batch of these parts."""
        return tuple(torch.cat(rows).to(self._device) for rows in zip(*map(self._of, indices), strict=True))

    def _of(self, k: int) -> tuple[Tensor, ...]:
        if k in self._kept:
            return self._kept[k]
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            answer = tuple(tensor.cpu() for tensor in self._answer(k))
        size = sum(tensor.nbytes for tensor in answer)
        if size <= self._free_bytes:
            self._kept[k] = answer
            self._free_bytes -= size
        return answer
