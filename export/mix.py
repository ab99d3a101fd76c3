"""Which layers of a network compute in what precision, and the files for a runtime that say so."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import onnx

from export.layers import Layer, all_macs, between, is_averaged, layers, maxima, outside
from export.quantize import Quantizer, Rounds
from export.to_openvino import to_openvino_bf16
from training.methods import Method


@dataclass(frozen=True, slots=True)
class Mix:
    """low: layers in an artefact's precision. bf16: those that are in bfloat16 instead. All others are in float32.

    narrow: weights of 7 bits instead of 8, so that the sum of two products stays below 2^15. averaged: what is averaged over
    places between layers is rounded before, too (docs/decisions.md has both).
    """

    low: tuple[Layer, ...]
    bf16: tuple[Layer, ...] = ()
    narrow: bool = False
    averaged: bool = False


class Kind(Protocol):
    """Files of one precision for one runtime, made from the float ONNX graph `source`; each may have another mix.

    instead: in what layers compute that are not in low precision, in the order of trial. network: all trained layers; of them
    `allowed` may be in low precision, `spared` not, but in bfloat16. macs: of the whole graph, per image.
    """

    precision: str
    runtime: str
    source: Path
    instead: tuple[str, ...]
    network: tuple[Layer, ...]
    allowed: tuple[Layer, ...]
    spared: tuple[Layer, ...]
    macs: int

    def quicker(self, mix: Mix) -> tuple[Mix, ...]:
        """The same layers in ways to be tried first."""
        ...

    def write(self, mix: Mix) -> Path:
        """The file to open; the next one takes its place."""
        ...


class Bfloat16:
    """For OpenVINO, by explicit Converts."""

    precision: str = "bf16"
    runtime: str = "openvino"
    instead: tuple[str, ...] = ("f32",)

    def __init__(self, source: Path, method: Method, folder: Path) -> None:
        graph = onnx.load(source)
        self.source, self.macs = source, all_macs(graph)
        self.network = tuple(layers(graph))
        self.allowed = tuple(outside(self.network, method.float_islands))
        self.spared: tuple[Layer, ...] = ()
        self._folder = folder

    def quicker(self, mix: Mix) -> tuple[Mix, ...]:
        return ()

    def write(self, mix: Mix) -> Path:
        file = self._folder / "model.bf16.xml"
        to_openvino_bf16(self.source, file, bf16_nodes(onnx.load(self.source), mix.low, mix.low))
        return file


class Int8:
    """With Q/DQ pairs; what is not in INT8 may be in bfloat16 for OpenVINO, whose IR says it, but not for ONNX Runtime.

    quantizer: has learned the ranges of `source`, or of a graph that differs from it only outside of the allowed layers.
    """

    precision: str = "int8"

    def __init__(self, source: Path, method: Method, folder: Path, quantizer: Quantizer, runtime: str) -> None:
        graph = onnx.load(source)
        self.source, self.runtime, self.macs = source, runtime, all_macs(graph)
        self.instead: tuple[str, ...] = ("bf16", "f32") if runtime == "openvino" else ("f32",)
        self.network = tuple(layers(graph))
        searched = () if runtime == "openvino" else ("search",)  # ONNX Runtime has no integers where their result is not one
        self.allowed = tuple(outside(int8_layers(self.network, method), searched))
        self.spared = tuple(one for one in outside(self.network, method.float_islands) if one not in self.allowed)
        self._folder, self._quantizer = folder, quantizer

    def quicker(self, mix: Mix) -> tuple[Mix, ...]:
        if self.runtime != "openvino":
            return ()
        narrow = replace(mix, narrow=True)
        averages = is_averaged(onnx.load(self.source), mix.low)
        return (replace(narrow, averaged=True), narrow) if averages else (narrow,)

    def write(self, mix: Mix) -> Path:
        file = self._folder / "model.int8.onnx"
        rounds: Rounds = "all" if self.runtime == "onnxruntime" else "averaged" if mix.averaged else "given"
        self._quantizer.write(self.source, file, mix.low, rounds, mix.narrow)
        if self.runtime != "openvino":
            return file
        graph = onnx.load(self.source)
        low = bf16_nodes(graph, mix.bf16, [*mix.bf16, *mix.low]) - set(between(graph, mix.low, mix.low))
        to_openvino_bf16(file, file := file.with_suffix(".xml"), low)
        return file


def int8_layers(network: Sequence[Layer], method: Method) -> tuple[Layer, ...]:
    return tuple(outside(network, (*method.float_islands, *method.bf16_islands)))


def bf16_nodes(model: onnx.ModelProto, chosen: Sequence[Layer], lowered: Sequence[Layer]) -> set[str]:
    """Names of the chosen layers' nodes, of those through which what they give reaches a lowered layer, and of their maxima."""
    resizing = {node.name for node in model.graph.node if node.op_type == "Resize"}
    return {layer.node for layer in chosen} | (set(between(model, chosen, lowered)) - resizing) | set(maxima(model, chosen))
