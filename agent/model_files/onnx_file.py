"""A strict reader of ONNX's wire format, for one question: is there anything in this file that a plain model does not need?

Only field numbers and lengths are decoded, as onnx.proto and the protobuf encoding state them. Fields that are not in the tables
below are refused, too: an older reader would pass over them, a newer runtime would act on them.
"""

from collections.abc import Iterator

from agent.model_files.unsafe_file import UnsafeFileError

NEWEST_IR, NEWEST_OPSET = 10, 21  # what the oldest onnxruntime that Kensa allows (1.18) reads
MOST_NODES, DEEPEST = 100_000, 8
_STANDARD = {b"", b"ai.onnx"}
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}  # TensorProto.DataType
_ORT_FORMAT = b"ORTM"  # at offset 4 makes onnxruntime read the file as a flatbuffer instead

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Field = tuple[int, int, memoryview]  # number, wire type, content


def refuse_unsafe_onnx(content: bytes) -> None:
    """Returns where `content` is a whole ONNX model with its weights inside and standard operators only.

    Raises UnsafeFileError on anything else, and nothing else.
    """
    if content[4:8] == _ORT_FORMAT:
        raise UnsafeFileError("it is in onnxruntime's own format, expected ONNX")
    _Model().read(memoryview(content))


class _Model:
    """One walk over a file; counts nodes over all its graphs."""

    def __init__(self) -> None:
        self._nodes = 0

    def read(self, content: memoryview) -> None:
        graphs = 0
        for number, kind, value in _fields(content, "model"):
            match number:
                case 1:
                    _at_most(_number(kind, value), NEWEST_IR, "ONNX format version")
                case 8:
                    self._opset(_nested(kind, value))
                case 7:
                    self._graph(_nested(kind, value), 0)
                    graphs += 1
                case 20:
                    raise UnsafeFileError("it carries training information, expected a model for inference")
                case 25:
                    raise UnsafeFileError("it defines functions of its own, expected standard operators")
                case 2 | 3 | 4 | 5 | 6 | 14:
                    pass
                case _:
                    raise _unknown("model", number)
        if graphs != 1:
            raise UnsafeFileError(f"{graphs} graphs, expected one: no ONNX model, or cut off")

    def _opset(self, content: memoryview) -> None:
        """A set named and not used does nothing: of others than ONNX's own, nodes are what is refused."""
        domain, version = b"", 0
        for number, kind, value in _fields(content, "opset_import"):
            match number:
                case 1:
                    domain = bytes(_nested(kind, value))
                case 2:
                    version = _number(kind, value)
                case _:
                    raise _unknown("opset_import", number)
        if domain in _STANDARD:
            _at_most(version, NEWEST_OPSET, "operator set version")

    def _graph(self, content: memoryview, depth: int) -> None:
        if depth > DEEPEST:
            raise UnsafeFileError(f"graphs nested deeper than {DEEPEST}")
        for number, kind, value in _fields(content, "graph"):
            match number:
                case 1:
                    self._node(_nested(kind, value), depth)
                case 5:
                    _tensor(_nested(kind, value))
                case 15:
                    raise UnsafeFileError("sparse weights, expected dense ones")
                case 2 | 10 | 11 | 12 | 13 | 14 | 16:
                    pass
                case _:
                    raise _unknown("graph", number)

    def _node(self, content: memoryview, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise UnsafeFileError(f"more than {MOST_NODES} nodes")
        for number, kind, value in _fields(content, "node"):
            match number:
                case 4:
                    if bytes(_nested(kind, value)) == b"EPContext":
                        raise UnsafeFileError("an EPContext node, which makes a runtime load compiled code from elsewhere")
                case 5:
                    self._attribute(_nested(kind, value), depth)
                case 7:
                    _standard(bytes(_nested(kind, value)), "operator")
                case 1 | 2 | 3 | 6 | 8 | 9:
                    pass
                case _:
                    raise _unknown("node", number)

    def _attribute(self, content: memoryview, depth: int) -> None:
        for number, kind, value in _fields(content, "attribute"):
            match number:
                case 5 | 10:
                    _tensor(_nested(kind, value))
                case 6 | 11:
                    self._graph(_nested(kind, value), depth + 1)
                case 22 | 23:
                    raise UnsafeFileError("sparse weights, expected dense ones")
                case 1 | 2 | 3 | 4 | 7 | 8 | 9 | 13 | 14 | 15 | 20 | 21:
                    pass
                case _:
                    raise _unknown("attribute", number)


def _tensor(content: memoryview) -> None:
    """Weights that are here, and as many as the shape says."""
    items, data_type, raw = 1, 0, None
    for number, kind, value in _fields(content, "tensor"):
        match number:
            case 1:
                for size in _numbers(kind, value):
                    items *= _at_most(size, 1 << 40, "tensor size")
                    _at_most(items, 1 << 40, "tensor size")
            case 2:
                data_type = _number(kind, value)
            case 9:
                raw = len(_nested(kind, value))
            case 13:
                raise UnsafeFileError("weights in another file (external_data), expected them inside")
            case 14:
                if _number(kind, value) != 0:
                    raise UnsafeFileError("weights in another file (data_location), expected them inside")
            case 3:
                raise UnsafeFileError("weights in segments, expected them whole")
            case 4 | 5 | 6 | 7 | 8 | 10 | 11 | 12 | 16:
                pass
            case _:
                raise _unknown("tensor", number)
    if raw is not None and data_type in _ITEM_BYTES and raw != items * _ITEM_BYTES[data_type]:
        raise UnsafeFileError(f"a tensor of {items * _ITEM_BYTES[data_type]} bytes by its shape holds {raw}")


def _fields(content: memoryview, where: str) -> Iterator[Field]:
    """The fields of one message, in order. Raises UnsafeFileError where it is cut off or not protobuf."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at, where)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, end = _varint(content, at, where)
        elif kind in (_FIXED32, _FIXED64):
            end = at + (4 if kind == _FIXED32 else 8)
        elif kind == _BYTES:
            length, at = _varint(content, at, where)
            end = at + length
        else:
            raise UnsafeFileError(f"no protobuf in {where} at byte {at}")
        if number == 0 or end > len(content):
            raise UnsafeFileError(f"{where} ends in the middle of a field: no ONNX model, or cut off")
        yield number, kind, content[at:end]
        at = end


def _varint(content: memoryview, at: int, where: str) -> tuple[int, int]:
    """The number at `at` and where it ends; ten bytes at most."""
    value = 0
    for k in range(10):
        if at + k >= len(content):
            raise UnsafeFileError(f"{where} ends in the middle of a number: no ONNX model, or cut off")
        byte = content[at + k]
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            return value, at + k + 1
    raise UnsafeFileError(f"a number of more than ten bytes in {where}: no ONNX model")


def _nested(kind: int, value: memoryview) -> memoryview:
    if kind != _BYTES:
        raise UnsafeFileError("a number where a message was expected: no ONNX model")
    return value


def _number(kind: int, value: memoryview) -> int:
    if kind != _VARINT:
        raise UnsafeFileError("a message where a number was expected: no ONNX model")
    return _varint(value, 0, "a field")[0]


def _numbers(kind: int, value: memoryview) -> Iterator[int]:
    """One number, or several packed."""
    if kind == _VARINT:
        yield _number(kind, value)
        return
    packed, at = _nested(kind, value), 0
    while at < len(packed):
        number, at = _varint(packed, at, "a tensor's shape")
        yield number


def _standard(domain: bytes, what: str) -> None:
    if domain not in _STANDARD:
        raise UnsafeFileError(f"{what} of domain {domain[:60].decode(errors='replace')!r}, expected those of ONNX only")


def _at_most(number: int, most: int, what: str) -> int:
    if number > most:
        raise UnsafeFileError(f"{what} {number}, expected at most {most}")
    return number


def _unknown(where: str, number: int) -> UnsafeFileError:
    return UnsafeFileError(f"field {number} of {where}, which ONNX did not have when this Kensa was made: update the agent, or")
