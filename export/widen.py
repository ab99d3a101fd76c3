"""Ever fewer blocks of a network in low precision, until the gate is passed or nothing is left that would pay."""

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from agent.bundle import Artifact, Withheld
from export.artifact import answered
from export.gate import LEAST_LOW_MACS, loses
from export.layers import Layer
from export.mix import Kind, Mix
from export.trial import Bench, Made, tried

_log = logging.getLogger(__name__)
_PROBES = 16  # of the gate's images, by which the sensitivity of blocks is measured
_WIDENED = (0, 1, 2, 3, 5)  # blocks left out, one try each


class Sensitivity:
    """How far a score moves when one block alone is in low precision."""

    def __init__(self, bench: Bench, kind: Kind) -> None:
        self._bench, self._kind = bench, kind

    @cached_property
    def ranked(self) -> list[str]:
        """The blocks, the one that moves a score most first."""
        shifts = {block: self._shift(block) for block in dict.fromkeys(layer.block for layer in self._kind.allowed)}
        ranked = sorted(shifts, key=lambda block: -shifts[block])
        told = ", ".join(f"{block} {shifts[block]:.3g}" for block in ranked)
        _log.info("sensitivity to %s: %s", self._kind.precision, told)
        return ranked

    def _shift(self, block: str) -> float:
        bench = self._bench
        picked = np.linspace(0, len(bench.images) - 1, _PROBES).astype(int).tolist()
        file = self._kind.write(Mix(tuple(layer for layer in self._kind.allowed if layer.block == block)))
        depths = None if bench.depths is None else [bench.depths[k] for k in picked]
        found, _ = answered(bench.run, file, self._kind.runtime, [bench.images[k] for k in picked], depths)
        return float(max(abs(answer.raw - bench.judged.answers[k].raw) for answer, k in zip(found, picked, strict=True)))


def widened(bench: Bench, kind: Kind, sensitivity: Sensitivity, rivals: list[Path]) -> Artifact | Withheld:
    """The first try that passes, or the one with the smallest shift, withheld. rivals: files that it must be faster than."""
    refused: list[Withheld] = []
    for mix in _mixes(kind, sensitivity):
        result = tried(bench, _made(kind, mix, rivals))
        if isinstance(result, Artifact):
            return result
        refused.append(result)
        if result.gate is not None and not loses(result.gate):
            break  # only too slow, or too little of it: more float would not help
    return min(refused, key=lambda w: 1.0 if w.gate is None else w.gate.worst_shift)


def _mixes(kind: Kind, sensitivity: Sensitivity) -> Iterator[Mix]:
    """All that may be in low precision, in the kind's quicker ways first; then with ever more blocks left out: all tries with
    these in the first precision they may have instead, then in the next."""
    seen: set[Mix] = set()
    for instead in kind.instead:
        for count in _WIDENED:
            left_out = sensitivity.ranked[:count] if count else []
            low = tuple(layer for layer in kind.allowed if layer.block not in left_out)
            if seen and sum(layer.macs for layer in low) < LEAST_LOW_MACS * kind.macs:
                break
            beside = tuple(one for one in kind.network if one in kind.spared or (one in kind.allowed and one not in low))
            mix = Mix(low, beside if instead == "bf16" else ())
            if not seen:
                yield from kind.quicker(mix)
            if mix not in seen:
                seen.add(mix)
                yield mix


def _made(kind: Kind, mix: Mix, rivals: list[Path]) -> Made:
    floats = [layer for layer in kind.network if layer not in (*mix.low, *mix.bf16)]
    blocks = _blocks(floats), _blocks(mix.bf16)
    return Made(kind.precision, kind.runtime, kind.write(mix), kind.source, rivals, *blocks, way=_way(mix))


def _way(mix: Mix) -> str:
    """What a log line adds to the artefact's name."""
    return " of 7 bits" * mix.narrow + " before averages, too" * mix.averaged


def _blocks(found: Sequence[Layer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer.block for layer in found))
