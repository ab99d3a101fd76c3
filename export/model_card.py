"""The bundle's README.md: a model card that people and Hugging Face's tools read, made from the manifest alone."""

import re

import yaml

from agent.bundle import Artifact, Manifest
from agent.tiles import Tiles


def model_card(manifest: Manifest) -> str:
    """Markdown with YAML front matter. Says nothing of when it was made, so the same model gives the same card."""
    provenance, contract = manifest.provenance, manifest.input
    front = yaml.safe_dump(
        {
            "license": "other",
            "license_name": provenance.weights_licence,
            "library_name": "kensa",
            "pipeline_tag": "image-classification",
            "tags": ["anomaly-detection", "visual-inspection", provenance.method],
        },
        sort_keys=False,
    )
    rows = "\n".join(_row(artifact) for artifact in manifest.artifacts)
    with_depth = ", with depth in metres" if contract.depth else ""
    width, height = contract.graph_size
    depth_input = f", `depth` (1, {height}, {width}) float32" if contract.depth else ""
    settings = "".join(f" `{key}={_plain(str(value))}`" for key, value in provenance.settings.items())
    withheld = "".join(f"- `{one.name}` was made and left out: {_plain(one.reason)}\n" for one in manifest.withheld)
    return f"""---
{front}---

# {_plain(manifest.name)}

Finds parts that look unlike the {provenance.n_train} good parts it was trained on. Made by Kensa; method
`{provenance.method}`, backbone `{_plain(provenance.backbone)}` ({_plain(provenance.weights)}).

## Intended use

Photographs of the same kind of part, taken as those for training were: {contract.min_width} to {contract.max_width} px wide,
{contract.min_height} to {contract.max_height} px high{with_depth}. The device refuses others. It has never
seen a defect; what it finds must be measured on defects of this line (`kensa evaluate`). It is not a safety function.

## Input and output

`image` (1, {height}, {width}, 3) uint8 RGB{depth_input}. `score` (1,) float32, raw, larger is stranger;
`anomaly_map` (1, h, w). A part passes if its score is finite and below the threshold of the artefact that ran.
{_cut(contract.tiles)}
## Artefacts

| artefact | runtime | precision | threshold | false rejects, at most | good parts for it | deviates from training by |
|---|---|---|---|---|---|---|
{rows}

Deviation: of a score, as a share of (threshold - median of good parts), or of its distance from the threshold where that is more.
False rejects with the confidence in `manifest.json`.
{withheld}
## Where it comes from

Training photographs: sha256 `{provenance.data_sha256}`. Weights of the backbone: sha256 of their tensors
`{provenance.weights_sha256}`, licence {_plain(provenance.weights_licence)}. Random seed {provenance.seed}. Settings of
the method:{settings or " its defaults"}.
`bom.cdx.json` lists all of it for machines.
"""


def _cut(tiles: Tiles | None) -> str:
    """What becomes of a photograph larger than the graph's input."""
    if tiles is None:
        return ""
    return f"""
The photograph is prepared as {tiles.width}x{tiles.height} px and cut into {tiles.columns} x {tiles.rows} tiles,
{tiles.step} px from one to the next; `image` is one of them. A part's score is the largest of its tiles' scores, and so is each
cell of its map where they overlap. Tiles wholly outside of the region of interest are not looked at.
"""


def _row(artifact: Artifact) -> str:
    table = artifact.calibration
    return (
        f"| {artifact.name} | {artifact.runtime} | {artifact.precision} | {table.threshold:.6g} | "
        f"{100 * table.false_reject_rate:.2f} % | {len(table.raw_scores)} | {artifact.parity.score_deviation:.1e} |"
    )


def _plain(text: str) -> str:
    """A name that cannot be taken for Markdown."""
    return re.sub(r"[^\w .,:;/+()@%-]", " ", text)
