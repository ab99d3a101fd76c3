"""A strict reader of OpenVINO IR, for one question: is there anything in this file that a plain model does not need?"""

import re
from xml.parsers import expat

from agent.model_files.unsafe_file import UnsafeFileError

_VERSIONS = {"10", "11"}  # of the IR
_STANDARD = re.compile(r"opset\d{1,2}\Z")  # versions of OpenVINO's own operators
_NEWEST_OPSET = 16
_DEEPEST, _MOST_ELEMENTS = 64, 2_000_000
_MOST_LAYERS = 20_000  # a ResNet-18 has 1600 in INT8; OpenVINO takes half a minute for 4500 of the wrong kind, and ever more
_ITEM_BITS = {
    **dict.fromkeys(("f64", "i64", "u64"), 64),
    **dict.fromkeys(("f32", "i32", "u32"), 32),
    **dict.fromkeys(("f16", "bf16", "i16", "u16"), 16),
    **dict.fromkeys(("i8", "u8", "boolean", "f8e4m3", "f8e5m2"), 8),
    **dict.fromkeys(("i4", "u4", "nf4"), 4),
    **dict.fromkeys(("u1",), 1),
}


def refuse_unsafe_ir(xml: bytes, n_weights: int) -> None:
    """Returns where `xml` describes standard operators whose constants fill the n_weights bytes of the .bin exactly.

    Raises UnsafeFileError on anything else, and nothing else.
    """
    if b"\0" in xml:  # UTF-16 and the like, which OpenVINO's parser guesses on its own
        raise UnsafeFileError("expected XML in UTF-8")
    reader = _Reader(n_weights)
    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    try:
        parser.Parse(xml, True)
    except expat.ExpatError as e:
        raise UnsafeFileError(f"no XML, or cut off: {e}") from e
    if reader.used != n_weights:
        raise UnsafeFileError(f"the constants end at byte {reader.used} of the weights, the .bin has {n_weights}")


def _refuse_doctype(*_: object) -> None:
    raise UnsafeFileError("a document type, by which XML names entities and other files")


class _Reader:
    """What expat tells, element by element. used: how far into the weights the constants reach."""

    def __init__(self, n_weights: int) -> None:
        self.used = 0
        self._n_weights = n_weights
        self._path: list[str] = []
        self._elements = self._layers = 0

    def start(self, name: str, given: dict[str, str]) -> None:
        self._elements += 1
        if len(self._path) >= _DEEPEST or self._elements > _MOST_ELEMENTS:
            raise UnsafeFileError("more or deeper elements than any model has")
        if not self._path and (name != "net" or given.get("version") not in _VERSIONS):
            raise UnsafeFileError(f"{name} version {given.get('version', 'none')!r}, expected net version 10 or 11")
        if name == "layer" and "layers" in self._path[-1:]:
            self._layer(given)
        if name == "data" and self._path[-1:] == ["layer"] and ("offset" in given or "size" in given):
            self._constant(given)
        self._path.append(name)

    def end(self, name: str) -> None:
        self._path.pop()

    def _layer(self, given: dict[str, str]) -> None:
        self._layers += 1
        if self._layers > _MOST_LAYERS:
            raise UnsafeFileError(f"more than {_MOST_LAYERS} layers, which would keep the runtime busy for minutes")
        version, kind = given.get("version", ""), given.get("type", "")
        if not _STANDARD.match(version) or int(version.removeprefix("opset")) > _NEWEST_OPSET:
            raise UnsafeFileError(f"operator {kind[:60]!r} of {version[:60]!r}, expected those of opset1 to opset{_NEWEST_OPSET}")

    def _constant(self, given: dict[str, str]) -> None:
        offset, size = _natural(given, "offset"), _natural(given, "size")
        if offset + size > self._n_weights:
            raise UnsafeFileError(f"a constant at bytes {offset} to {offset + size}, the .bin has {self._n_weights}")
        bits = _ITEM_BITS.get(given.get("element_type", ""))
        if bits is not None and "shape" in given:
            items = 1
            for length in filter(None, (part.strip() for part in given["shape"].split(","))):
                items *= _natural({"shape": length}, "shape")
            if (items * bits + 7) // 8 != size:
                raise UnsafeFileError(f"a constant of {(items * bits + 7) // 8} bytes by its shape holds {size}")
        self.used = max(self.used, offset + size)


def _natural(given: dict[str, str], name: str) -> int:
    text = given.get(name, "")
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise UnsafeFileError(f"{name} {text[:40]!r}, expected a natural number")
    return int(text)
