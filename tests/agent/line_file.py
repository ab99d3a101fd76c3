"""A line.yaml around the small bundle, written into a test's own folder."""

from pathlib import Path

from small_bundle import write_photographs


def write_line(
    folder: Path,
    bundle: Path,
    port: int = 1,
    trigger: str = "{type: timer, period_ms: 50}",
    travel_ms: float = 400,
    pulse_ms: float = 10,
    runtime: str = "onnxruntime",
) -> Path:
    """The file; its photographs (good, good, defect) and its state are in `folder` too. Nobody listens on port 1."""
    if not (folder / "photographs").exists():
        write_photographs(folder / "photographs", 3, defects=frozenset({2}))
    file = folder / "line.yaml"
    file.write_text(
        f"""\
station: press-3
bundle: {bundle}
state: state
cameras:
  top: {{type: folder, path: photographs}}
trigger: {trigger}
ejector: {{type: dryrun}}
gate:
  travel_ms: {travel_ms}
  lead_ms: 20
  pulse_ms: {pulse_ms}
runtime: {{type: {runtime}}}
mqtt: {{host: 127.0.0.1, port: {port}, topic: plant/press-3}}
"""
    )
    return file
