"""What a runtime may open: every model file is read here first, with a small strict reader, and refused where it is not plain.

Runtimes are large C++ programs that follow paths, load plug-ins and trust sizes written in a file. A model of Kensa needs none
of that: weights inside, standard operators, one graph. Anything else is a BundleError before a runtime sees the file.
"""

import os
from pathlib import Path

from agent.bundle import BundleError
from agent.model_files.ir_file import refuse_unsafe_ir
from agent.model_files.onnx_file import refuse_unsafe_onnx
from agent.model_files.unsafe_file import UnsafeFileError

MOST_BYTES = 1 << 30  # of a model; protobuf itself ends at 2 GB
MOST_XML_BYTES = 64 << 20


def safe_onnx(file: Path) -> bytes:
    """The bytes of an ONNX file that may be opened: what was looked at is what runs. Raises BundleError."""
    content = _read(file, MOST_BYTES)
    try:
        refuse_unsafe_onnx(content)
    except UnsafeFileError as e:
        raise _refused(file, e) from e
    return content


def refuse_unsafe_model(file: Path) -> None:
    """Returns where `file` (.onnx, or .xml with its .bin beside it) may be opened. Raises BundleError."""
    if file.suffix == ".onnx":
        safe_onnx(file)
        return
    if file.suffix != ".xml":
        raise BundleError(f"{file}: expected a model as .onnx or .xml, found {file.suffix or 'no ending'!r}: export again")
    weights = file.with_suffix(".bin")
    try:
        n_weights = weights.stat().st_size if weights.exists() else 0
    except OSError as e:
        raise BundleError(f"{weights}: cannot be read: {e.strerror}: copy the bundle again") from e
    if n_weights > MOST_BYTES:
        raise BundleError(f"{weights}: {n_weights} bytes, a model has at most {MOST_BYTES}: refused")
    content = _read(file, MOST_XML_BYTES)
    try:
        refuse_unsafe_ir(content, n_weights)
    except UnsafeFileError as e:
        raise _refused(file, e) from e


def _read(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as source:
            content = source.read(most + 1) if os.fstat(source.fileno()).st_size <= most else None
    except OSError as e:
        raise BundleError(f"{file}: cannot be read: {e.strerror}: copy the bundle again") from e
    if content is None or len(content) > most:
        raise BundleError(f"{file}: larger than {most} bytes, no model is: refused")
    return content


def _refused(file: Path, why: UnsafeFileError) -> BundleError:
    return BundleError(f"{file}: refused before any runtime opened it: {why}: export again with kensa export")
