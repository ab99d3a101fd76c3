from pathlib import Path

import onnx
import pytest

from export.layers import all_macs, between, layers, outside


@pytest.fixture(scope="module")
def model(bundle_folder: Path) -> onnx.ModelProto:
    return onnx.load(bundle_folder / "artifacts" / "model.onnx")


def test_every_convolution_of_the_backbone_is_a_layer_with_the_name_of_its_module(model: onnx.ModelProto) -> None:
    modules = [layer.module for layer in layers(model)]

    assert len(modules) == sum(node.op_type == "Conv" for node in model.graph.node) > 10
    assert all(module.startswith("backbone.network.") for module in modules)


def test_multiplications_are_those_counted_by_hand(model: onnx.ModelProto) -> None:
    first = layers(model)[0]
    bank = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("memory_bank"))

    assert first.macs == 32 * 32 * 64 * 7 * 7 * 3  # of a 64 px input at stride 2, 7x7, 3 to 64 channels
    assert all_macs(model) - sum(layer.macs for layer in layers(model)) == 8 * 8 * bank.dims[0] * bank.dims[1]  # the search


def test_the_search_and_what_follows_it_is_never_between_layers(model: onnx.ModelProto) -> None:
    names = between(model, layers(model), layers(model))

    kinds = {node.op_type for node in model.graph.node if node.name in names}
    assert kinds == {"Relu", "Add", "MaxPool"}


def test_an_island_takes_its_layers_out(model: onnx.ModelProto) -> None:
    left = outside(layers(model), ["backbone.network.layer1", "student"])

    assert {layer.module for layer in layers(model)} - {layer.module for layer in left} == {
        f"backbone.network.layer1.{block}.conv{k}" for block in (0, 1) for k in (1, 2)
    }
