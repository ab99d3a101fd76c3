"""Hostile, damaged and too-new model files: refused in words, and no runtime is even imported for them."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_bundle import GOLDEN

from agent.bundle import BundleError
from agent.drivers import section
from agent.model_files.ir_file import refuse_unsafe_ir
from agent.model_files.model_file import refuse_unsafe_model, safe_onnx
from agent.model_files.onnx_file import DEEPEST, NEWEST_IR, NEWEST_OPSET, refuse_unsafe_onnx
from agent.model_files.unsafe_file import UnsafeFileError

PLAIN = GOLDEN.read_bytes()


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes | int) -> bytes:
    """One field of a protobuf message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def model(graph: bytes = b"", ir: int = 10, opset: int = 18, more: bytes = b"") -> bytes:
    return field(1, ir) + field(8, field(1, b"") + field(2, opset)) + field(7, graph) + more


def node(op: bytes = b"Relu", domain: bytes = b"", more: bytes = b"") -> bytes:
    return field(1, field(1, b"x") + field(2, b"y") + field(4, op) + field(7, domain) + more)


def tensor(more: bytes = b"", raw: bytes = bytes(8), shape: bytes = field(1, 2)) -> bytes:
    """Two float32 numbers."""
    return shape + field(2, 1) + field(8, b"w") + field(9, raw) + more


ELSEWHERE = field(13, field(1, b"location") + field(2, b"../../etc/shadow")) + field(14, 1)


def nested(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph, and so on."""
    return node(more=field(5, field(1, b"body") + field(6, nested(depth - 1)))) if depth else node()


HOSTILE = {
    "weights in another file": (model(field(5, tensor(ELSEWHERE))), "weights in another file"),
    "weights in another file, said only by data_location": (model(field(5, tensor(field(14, 1)))), "data_location"),
    "weights in another file, in an attribute": (model(node(more=field(5, field(5, tensor(ELSEWHERE))))), "external_data"),
    "weights in another file, in a list of an attribute": (
        model(node(more=field(5, field(10, tensor(ELSEWHERE))))),
        "external_d",
    ),
    "weights in another file, in a subgraph": (
        model(node(more=field(5, field(6, field(5, tensor(ELSEWHERE)))))),
        "external_data",
    ),
    "weights in another file, in a list of subgraphs": (
        model(node(more=field(5, field(11, field(5, tensor(ELSEWHERE)))))),
        "ext",
    ),
    "an operator of another domain": (model(node(domain=b"com.microsoft")), "operator of domain 'com.microsoft'"),
    "an operator of another domain, in a subgraph": (model(node(more=field(5, field(6, node(domain=b"x"))))), "domain 'x'"),
    "the domain said twice": (model(node(domain=b"evil", more=field(7, b""))), "domain 'evil'"),
    "compiled code from elsewhere": (model(node(b"EPContext")), "EPContext"),
    "functions of its own": (model(more=field(25, field(1, b"f"))), "functions"),
    "training information": (model(more=field(20, b"")), "training information"),
    "sparse weights": (model(field(15, b"")), "sparse"),
    "sparse weights in an attribute": (model(node(more=field(5, field(22, b"")))), "sparse"),
    "weights in segments": (model(field(5, tensor(field(3, b"")))), "segments"),
    "fewer weights than the shape says": (model(field(5, tensor(raw=bytes(7)))), "8 bytes by its shape holds 7"),
    "a shape of more than the memory of the world": (
        model(field(5, tensor(shape=field(1, 1 << 30) + field(1, 1 << 30)))),
        "tensor size",
    ),
    "a packed shape of the same": (model(field(5, tensor(shape=field(1, varint(1 << 30) * 2)))), "tensor size"),
    "graphs nested without end": (model(nested(DEEPEST + 1)), "nested deeper"),
    "two graphs, which readers would merge": (model(more=field(7, b"")), "2 graphs"),
    "no graph": (field(1, 10), "0 graphs"),
    "a newer format": (model(ir=NEWEST_IR + 1), f"format version {NEWEST_IR + 1}"),
    "newer operators": (model(opset=NEWEST_OPSET + 1), f"operator set version {NEWEST_OPSET + 1}"),
    "a field of tomorrow in the model": (model(more=field(99, 1)), "field 99 of model"),
    "a field of tomorrow in a node": (model(node(more=field(99, 1))), "field 99 of node"),
    "a field of tomorrow in the graph": (model(field(99, 1)), "field 99 of graph"),
    "a field of tomorrow in a tensor": (model(field(5, tensor(field(99, 1)))), "field 99 of tensor"),
    "a field of tomorrow in an attribute": (model(node(more=field(5, field(99, 1)))), "field 99 of attribute"),
    "onnxruntime's own format behind a valid field": (field(2, b"xxORTM") + model(), "onnxruntime's own format"),
    "a group, which protobuf has abandoned": (model() + varint(3 << 3 | 3), "no protobuf"),
    "a number without end": (model() + b"\x08" + b"\xff" * 11, "more than ten bytes"),
    "a number in place of the graph": (field(1, 10) + field(7, 5), "a number where a message was expected"),
    "nothing": (b"", "0 graphs"),
    "text": (b"this is no model", "."),
    "a checkpoint": (b"PK\x03\x04archive/data.pkl", "."),
}
IR = b"""<?xml version="1.0"?><net name="m" version="11"><layers>
<layer id="0" name="w" type="Const" version="opset1"><data element_type="f32" shape="2, 3" offset="0" size="24"/></layer>
</layers></net>"""
HOSTILE_IR = {
    "entities that grow": (
        b'<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><net version="11">&b;</net>',
        24,
        "document type",
    ),
    "another file": (b'<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]><net version="11">&a;</net>', 24, "document type"),
    "a document type elsewhere": (b'<!DOCTYPE net SYSTEM "http://x/y.dtd"><net version="11"/>', 0, "document type"),
    "an entity that is not declared": (b'<net version="11">&a;</net>', 0, "no XML"),
    "weights beyond the .bin": (IR, 23, "a constant at bytes 0 to 24, the .bin has 23"),
    "weights that nobody uses": (IR, 25, "end at byte 24 of the weights, the .bin has 25"),
    "no weights": (IR, 0, "the .bin has 0"),
    "fewer weights than the shape says": (IR.replace(b"2, 3", b"2, 4"), 24, "32 bytes by its shape holds 24"),
    "a negative offset": (IR.replace(b'offset="0"', b'offset="-8"'), 24, "offset '-8'"),
    "an offset of many digits": (IR.replace(b'offset="0"', b'offset="' + b"9" * 30 + b'"'), 24, "offset '999"),
    "digits that are not ASCII": (IR.replace(b'offset="0"', 'offset="٣"'.encode()), 24, "natural number"),
    "an operator of an extension": (IR.replace(b"opset1", b"extension"), 24, "'Const' of 'extension'"),
    "an operator of tomorrow": (IR.replace(b"opset1", b"opset99"), 24, "'opset99'"),
    "another format": (IR.replace(b'version="11"', b'version="12"'), 24, "net version '12'"),
    "another document": (b"<html/>", 0, "html version 'none'"),
    "layers without end": (
        b'<net version="11"><layers>' + b'<layer type="Relu" version="opset1"/>' * 20_001 + b"</layers></net>",
        0,
        "more than 20000 layers",
    ),
    "elements nested without end": (b'<net version="11">' + b"<a>" * 100 + b"</a>" * 100 + b"</net>", 0, "deeper elements"),
    "UTF-16": (IR.decode().replace("1.0", "1.0").encode("utf-16"), 24, "UTF-8"),
    "cut off": (IR[:-20], 24, "no XML, or cut off"),
    "nothing": (b"", 0, "no XML"),
}


def test_a_model_of_ours_is_opened() -> None:
    refuse_unsafe_onnx(PLAIN)
    refuse_unsafe_onnx(model(field(5, tensor()) + nested(DEEPEST)))
    refuse_unsafe_ir(IR, 24)


@pytest.mark.parametrize("name", HOSTILE)
def test_an_onnx_file_with_more_than_a_plain_model_needs_is_refused(name: str) -> None:
    content, why = HOSTILE[name]

    with pytest.raises(UnsafeFileError, match=why):
        refuse_unsafe_onnx(content)


@pytest.mark.parametrize("name", HOSTILE_IR)
def test_an_openvino_file_with_more_than_a_plain_model_needs_is_refused(name: str) -> None:
    content, n_weights, why = HOSTILE_IR[name]

    with pytest.raises(UnsafeFileError, match=why):
        refuse_unsafe_ir(content, n_weights)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(kept: float) -> None:
    with pytest.raises(UnsafeFileError, match="cut off"):
        refuse_unsafe_onnx(PLAIN[: int(len(PLAIN) * kept)])


@settings(max_examples=300)
@given(at=st.integers(0, len(PLAIN) - 1), new=st.binary(max_size=12), gone=st.integers(0, 12))
def test_a_changed_onnx_file_is_opened_or_refused_and_never_an_error_of_another_kind(at: int, new: bytes, gone: int) -> None:
    assert verdict_on_onnx(PLAIN[:at] + new + PLAIN[at + gone :]) in ("opened", "refused")


@settings(max_examples=300)
@given(at=st.integers(0, len(IR) - 1), new=st.binary(max_size=12), gone=st.integers(0, 12), n_weights=st.integers(0, 64))
def test_a_changed_openvino_file_is_opened_or_refused_and_never_an_error_of_another_kind(
    at: int, new: bytes, gone: int, n_weights: int
) -> None:
    assert verdict_on_ir(IR[:at] + new + IR[at + gone :], n_weights) in ("opened", "refused")


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes_are_opened_or_refused(content: bytes) -> None:
    assert verdict_on_onnx(content) in ("opened", "refused")
    assert verdict_on_ir(content, 0) in ("opened", "refused")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(PLAIN) - 1), byte=st.integers(0, 255))
def test_whatever_is_let_through_is_opened_by_the_runtime_or_refused_in_words(tmp_path: Path, at: int, byte: int) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(PLAIN[:at] + bytes([byte]) + PLAIN[at + 1 :])

    assert verdict_on_opening(file) in ("opened", "BundleError", "InferenceError")


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_no_runtime_is_imported_for_a_file_that_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HOSTILE["weights in another file"][0])
    runtime = {"model.onnx": "onnxruntime", "model.xml": "openvino"}[name]
    program = f"""
import sys
from pathlib import Path
from agent.bundle import BundleError
from agent.drivers import section
try:
    section("agent.runtimes", {{"type": "{runtime}"}}).open(Path("{tmp_path / name}")).__enter__()
except BundleError as e:
    print(e, "onnxruntime" in sys.modules, "openvino" in sys.modules)
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert "refused before any runtime opened it" in finished.stdout, finished.stderr
    assert finished.stdout.endswith("False False\n")


@pytest.mark.parametrize("name", ["model.pt", "model.engine", "model", "model.blob"])
def test_another_kind_of_file_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PLAIN)

    with pytest.raises(BundleError, match=r"expected a model as \.onnx or \.xml"):
        refuse_unsafe_model(tmp_path / name)


@pytest.mark.parametrize(("name", "size"), [("model.onnx", (1 << 30) + 1), ("model.xml", 65 << 20)])
def test_an_oversize_file_is_refused_without_reading_it_whole(tmp_path: Path, name: str, size: int) -> None:
    with (tmp_path / name).open("wb") as sparse:
        sparse.truncate(size)

    with pytest.raises(BundleError, match=r"model\.\w+: larger than \d+ bytes"):
        refuse_unsafe_model(tmp_path / name)


def test_oversize_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes(IR)
    with (tmp_path / "model.bin").open("wb") as sparse:
        sparse.truncate((1 << 30) + 1)

    with pytest.raises(BundleError, match=r"model\.bin: \d+ bytes"):
        refuse_unsafe_model(tmp_path / "model.xml")


def test_what_was_looked_at_is_what_is_given_on(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(PLAIN)

    assert safe_onnx(tmp_path / "model.onnx") == PLAIN


def verdict_on_onnx(content: bytes) -> str:
    try:
        refuse_unsafe_onnx(content)
    except UnsafeFileError:
        return "refused"
    return "opened"


def verdict_on_ir(content: bytes, n_weights: int) -> str:
    try:
        refuse_unsafe_ir(content, n_weights)
    except UnsafeFileError:
        return "refused"
    return "opened"


def verdict_on_opening(file: Path) -> str:
    try:
        with section("agent.runtimes", {"type": "onnxruntime", "threads": 1}).open(file):
            return "opened"
    except Exception as e:  # noqa: BLE001 - any other name fails the test
        return type(e).__name__
