"""The bundle's bill of materials, CycloneDX 1.5: model, first weights, photographs, tools; made from the manifest alone."""

from typing import Any

from agent.bundle import Manifest


def bill_of(manifest: Manifest, files: dict[str, str]) -> dict[str, Any]:
    """JSON. files: sha256 of the artefacts' files by name. Says nothing of when it was made, so the same model gives the same."""
    provenance = manifest.provenance
    source, _, of_file = provenance.weights.partition(", file sha256 ")
    weights = {
        "type": "machine-learning-model",
        "bom-ref": "weights",
        "name": source,
        "description": f"weights of the backbone {provenance.backbone}",
        **_licence(provenance.weights_licence),
        **_hash(of_file),
        "properties": [{"name": "kensa:tensors_sha256", "value": provenance.weights_sha256}],
    }
    data = {"type": "data", "bom-ref": "photographs", "name": "training photographs", **_hash(provenance.data_sha256)}
    artifacts = [
        {
            "type": "machine-learning-model",
            "bom-ref": artifact.name,
            "name": artifact.name,
            "properties": [
                {"name": "kensa:runtime", "value": artifact.runtime},
                {"name": "kensa:precision", "value": artifact.precision},
            ],
            "modelCard": {
                "modelParameters": {"task": "anomaly detection", "approach": {"type": "unsupervised"}},
                "quantitativeAnalysis": {
                    "performanceMetrics": [
                        {
                            "type": "false reject rate",
                            "value": "at most",
                            "slice": f"{len(artifact.calibration.raw_scores)} good parts held out",
                            "confidenceInterval": {
                                "lowerBound": "0",
                                "upperBound": f"{artifact.calibration.false_reject_rate:.6g}",
                            },
                        }
                    ]
                },
            },
            "components": [{"type": "file", "name": name, **_hash(files[name])} for name in artifact.files],
        }
        for artifact in manifest.artifacts
    ]
    tools = [
        {"type": "library", "bom-ref": f"{name}@{version}", "name": name, "version": version}
        for name, version in sorted(provenance.versions.items())
    ]
    model = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest.name,
        "description": f"{provenance.method}, fitted on {provenance.n_train} good parts with seed {provenance.seed}",
        **_hash(provenance.model_sha256),
    }
    made_from = ["weights", "photographs", *(tool["bom-ref"] for tool in tools)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": model},
        "components": [*artifacts, weights, data, *tools],
        "dependencies": [
            {"ref": "model", "dependsOn": made_from},
            *({"ref": artifact.name, "dependsOn": ["model"]} for artifact in manifest.artifacts),
        ],
    }


def _licence(name: str) -> dict[str, Any]:
    """Nothing where it is not known."""
    return {} if name == "unknown" else {"licenses": [{"license": {"name": name}}]}


def _hash(sha256: str) -> dict[str, Any]:
    """Nothing where there is none to tell."""
    return {"hashes": [{"alg": "SHA-256", "content": sha256}]} if len(sha256) == 64 else {}
