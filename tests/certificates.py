"""Certificates of a test's own authority, made by openssl."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_CONFIG = """
[ca]
default_ca = own
[own]
database = {folder}/index.txt
new_certs_dir = {folder}
serial = {folder}/serial
private_key = {folder}/ca.key
certificate = {folder}/ca.pem
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
GOOD = ("20200101000000Z", "20991231235959Z")


@dataclass(frozen=True)
class Certificate:
    """PEM files."""

    file: Path
    key: Path


class Authority:
    """Signs certificates; its own is `file`. Skips the test where openssl is not installed."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl (Debian: apt install openssl); not on PATH")
        folder.mkdir()
        self._folder = folder
        self.file = folder / "ca.pem"
        (folder / "index.txt").write_text("")
        (folder / "serial").write_text("01")
        (folder / "ca.cnf").write_text(_CONFIG.format(folder=folder))
        key = folder / "ca.key"
        _openssl("req", "-x509", *_KEY, "-keyout", key, "-out", self.file, "-days", 36500, "-subj", "/CN=test authority")

    def sign(self, name: str, holder: str = "IP:127.0.0.1", valid: tuple[str, str] = GOOD) -> Certificate:
        """holder: as in subjectAltName. valid: from, to, as in X.509."""
        certificate = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName = {holder}\n")
        _openssl("req", "-new", *_KEY, "-keyout", certificate.key, "-out", request, "-subj", f"/CN={name}")
        dates = ["-startdate", valid[0], "-enddate", valid[1]]
        own = ["-config", self._folder / "ca.cnf", "-extfile", extensions]
        _openssl("ca", "-batch", "-notext", *own, *dates, "-in", request, "-out", certificate.file)
        return certificate


def _openssl(*words: object) -> None:
    ended = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
