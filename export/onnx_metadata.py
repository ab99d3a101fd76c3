"""What any ONNX tool shows of a model: `metadata_props` with its input, its scores and where it comes from."""

from pathlib import Path

import onnx

from agent.bundle import Provenance
from agent.preprocess import InputContract


def write_onnx_metadata(file: Path, name: str, contract: InputContract, provenance: Provenance) -> None:
    """Into `file`, in place. The bundle's own id is made from this file's hash, so it cannot stand here; the model's does."""
    model = onnx.load(file)
    width, height = contract.graph_size
    told = {
        "kensa.name": name,
        "kensa.method": provenance.method,
        "kensa.model_sha256": provenance.model_sha256,
        "kensa.data_sha256": provenance.data_sha256,
        "kensa.input": f"image (1, {height}, {width}, 3) uint8 RGB"
        + (f", depth (1, {height}, {width}) float32 metres" if contract.depth else ""),
        "kensa.score": "raw: larger is stranger, unbounded; threshold in the bundle's manifest.json, one for each artefact",
        "kensa.weights_licence": provenance.weights_licence,
    }
    onnx.helper.set_model_props(model, told)
    onnx.save_model(model, file, save_as_external_data=False)
