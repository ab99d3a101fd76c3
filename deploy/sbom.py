"""`kensa sbom`: what is installed in this environment, as CycloneDX 1.5; made where it runs, so it says what runs."""

import argparse
import hashlib
import re
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from agent.clock import utc_now

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")


def sbom_command(arguments: list[str]) -> int:
    """Writes a bill of materials (CycloneDX 1.5, JSON) of the packages in this environment."""
    parser = argparse.ArgumentParser(
        prog="kensa sbom", description=sbom_command.__doc__, epilog="example: kensa sbom --out kensa.cdx.json"
    )
    parser.add_argument("--out", type=Path, help="a file; without it, standard output")
    out: Path | None = parser.parse_args(arguments).out
    text = msgspec.json.format(msgspec.json.encode(bill(list(metadata.distributions()), utc_now())), indent=1) + b"\n"
    if out is None:
        sys.stdout.write(text.decode())
    else:
        out.write_bytes(text)
    return 0


def bill(installed: list[metadata.Distribution], now: str) -> dict[str, Any]:
    """The bill with Kensa itself as its subject. now: RFC 3339."""
    by_name = {_normal(one.metadata["Name"]): one for one in installed if one.metadata["Name"]}
    components = {name: _component(name, one) for name, one in sorted(by_name.items())}
    subject = components.pop("kensa", {"type": "application", "name": "kensa", "bom-ref": "kensa"})
    refs = {name: component["bom-ref"] for name, component in components.items()} | {"kensa": subject["bom-ref"]}
    content = {
        "metadata": {"timestamp": now, "component": {**subject, "type": "application"}},
        "components": list(components.values()),
        "dependencies": [
            {"ref": refs[name], "dependsOn": sorted(refs[other] for other in _needs(one) if other in refs and other != name)}
            for name, one in sorted(by_name.items())
        ],
    }
    serial = uuid.UUID(bytes=hashlib.sha256(msgspec.json.encode(content)).digest()[:16], version=4)
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": f"urn:uuid:{serial}", "version": 1, **content}


def _component(name: str, one: metadata.Distribution) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{one.version}"
    said = next((one.metadata[key] for key in ("License-Expression", "License") if key in one.metadata), "")
    licence = said.strip().splitlines()[0] if said.strip() else ""
    with_licence = {"licenses": [{"license": {"name": licence}}]} if licence else {}
    return {"type": "library", "bom-ref": purl, "name": name, "version": one.version, "purl": purl, **with_licence}


def _needs(one: metadata.Distribution) -> set[str]:
    """Names it may depend on, here or elsewhere, with its extras; the caller keeps those that are installed."""
    return {_normal(found[0]) for requirement in one.requires or () if (found := _NAME.match(requirement))}


def _normal(name: str) -> str:
    """
    >>> _normal("opencv_Python.headless")
    'opencv-python-headless'
    """
    return re.sub(r"[-_.]+", "-", name).lower()
