"""The deployed graph as one self-contained ONNX file: static shapes, float32, uint8 NHWC in, raw score and map out."""

import logging
from pathlib import Path

import onnx
import torch

from agent.preprocess import InputContract
from training.graph import Deployed

OPSET = 18


def to_onnx(deployed: Deployed, contract: InputContract, file: Path) -> None:
    """Writes `file`. Inputs `image` (1, H, W, 3) uint8 RGB and, for a model that needs it, `depth` (1, H, W) float32 metres;
    outputs `score` (1,) and `anomaly_map` (1, h, w) float32."""
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it tells of every constant that it leaves as it is
    width, height = contract.graph_size
    examples = {"image": torch.zeros(1, height, width, 3, dtype=torch.uint8)}
    if contract.depth:
        examples["depth"] = torch.ones(1, height, width)
    program = torch.onnx.export(
        deployed.eval(),
        tuple(examples.values()),
        input_names=list(examples),
        output_names=["score", "anomaly_map"],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model_proto
    _forget_sources(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, file, save_as_external_data=False)


def _forget_sources(model: onnx.ModelProto) -> None:
    """Takes out what the exporter notes of the workstation: stack traces and paths."""
    model.doc_string = ""
    model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
