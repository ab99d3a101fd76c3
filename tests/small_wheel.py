"""A wheel of a Kensa that is nothing but its name and what provisioning compares, so that installing it takes a second."""

import zipfile
from importlib import metadata
from pathlib import Path

DEPLOY = Path(__file__).parents[1] / "deploy"
SHIPPED = [DEPLOY / "device.txt", *sorted((DEPLOY / "systemd").iterdir())]
VERSION = metadata.version("kensa")


def write_wheel(folder: Path, version: str = VERSION, program: str = "return 0", pins: str = "", requires: str = "") -> Path:
    """program: what it does when it is run. pins: more of deploy/device.txt. requires: a requirement of its own."""
    folder.mkdir(exist_ok=True)
    info, needs = f"kensa-{version}.dist-info", f"Requires-Dist: {requires}\n" if requires else ""
    file = folder / f"kensa-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr("kensa.py", f"def main():\n    {program}\n")
        for shipped in SHIPPED:
            wheel.writestr(
                f"deploy/{shipped.relative_to(DEPLOY)}", shipped.read_text() + (pins if shipped.suffix == ".txt" else "")
            )
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: kensa\nVersion: {version}\n{needs}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nkensa = kensa:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return file
