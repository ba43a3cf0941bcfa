"""ONNX: where a model's weights lie, in it and beside it, and the same model with its weights beside it.

Walks the wire format over a mapping of the file. Sources: onnx.proto,
https://github.com/onnx/onnx/blob/main/docs/ExternalData.md. A tensor is known by its *key*: its name; where two have
one name (a subgraph may use a name again) or none, the later one's gets a number behind it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Final

from modelyard import protobuf
from modelyard.protobuf import Buffer, Fields, encoded_field, encoded_varint, varint
from modelyard.registry.formats.parts import Malformed, Span, cover, mapped, size_in_bytes

SUFFIX: Final = ".onnx"
# Below this a tensor of its own would cost more than it saves.
MIN_TENSOR: Final = 4096
_MAX_FIELDS: Final = 10_000_000
_MAX_DEPTH: Final = 100  # as protobuf's own readers
_MAX_RANK: Final = 64
_MAX_TEXT: Final = 2**14
_MAX_TENSORS: Final = 500_000

# Which field of a message holds which message, as far as tensors lie below it.
_CHILDREN: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}
_GRAPH_OF_MODEL, _INITIALIZER = 7, 5
_DIMS, _DATA_TYPE, _SEGMENT, _NAME, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 3, 8, 9, 13, 14
_KEY, _VALUE = 1, 2
_EXTERNAL: Final = 1
_DTYPES: Final = {
    1: "F32",
    2: "U8",
    3: "I8",
    4: "U16",
    5: "I16",
    6: "I32",
    7: "I64",
    9: "BOOL",
    10: "F16",
    11: "F64",
    12: "U32",
    13: "U64",
    14: "C64",
    15: "C128",
    16: "BF16",
    17: "F8_E4M3",
    18: "F8_E4M3FNUZ",
    19: "F8_E5M2",
    20: "F8_E5M2FNUZ",
    21: "U4",
    22: "I4",
    23: "F4",
    24: "F8_E8M0",
    25: "U2",
    26: "I2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """A tensor whose bytes lie in another file: ``location`` is relative to the model's folder, as the model has it but
    without needless dots and slashes. ``length`` is None where neither the model nor the shape says it: to the file's
    end."""

    tensor: str
    location: str
    offset: int
    length: int | None
    dtype: str | None
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """A TensorProto from ``first`` to ``last``; ``raw`` is where its raw_data lies, if it has just one."""

    key: str
    first: int
    last: int
    is_initializer: bool
    dtype: str | None
    shape: tuple[int, ...]
    raw: tuple[int, int] | None
    entries: Mapping[str, str] | None

    @property
    def is_external(self) -> bool:
        return self.entries is not None

    @property
    def stands_alone(self) -> bool:
        """Whether its bytes are in the model and worth a span of their own."""
        if self.raw is None or self.is_external or not self.is_initializer or self.dtype is None:
            return False
        size = self.raw[1] - self.raw[0]
        return size >= MIN_TENSOR and size == size_in_bytes(self.dtype, self.shape)


def spans(path: Path) -> tuple[Span, ...]:
    """The initializers of the model's graph that are in the file and at least :data:`MIN_TENSOR` bytes long; all else
    is plain.

    Raises:
        Malformed: it is not an ONNX model
        OSError: it cannot be read
    """
    with mapped(path) as content:
        tensors = _tensors(content, deep=False)
        return cover((_span(tensor) for tensor in tensors if tensor.stands_alone), len(content))


def external(path: Path) -> tuple[External, ...]:
    """Every tensor of the model, in subgraphs and functions too, that lies in another file.

    Raises:
        Malformed: it is not an ONNX model
        OSError: it cannot be read
    """
    with mapped(path) as content:
        return tuple(_external(tensor) for tensor in _tensors(content, deep=True) if tensor.is_external)


def spans_of_data(model: Path, data_name: str, size: int) -> tuple[Span, ...] | None:
    """The tensors in the file ``data_name`` (relative to the model's folder) of ``size`` bytes, as the model at
    ``model`` has them. A region that several tensors share is the first one's. None if the model names no tensor
    there, if tensors overlap or lie outside it, and if it is no model.

    Raises:
        OSError: the model cannot be read
    """
    try:
        tensors = external(model)
        regions: dict[tuple[int, int], Span] = {}
        for tensor in tensors:
            if not tensor.location or PurePosixPath(tensor.location) != PurePosixPath(data_name):
                continue
            length = size - tensor.offset if tensor.length is None else tensor.length
            if length < 0:
                return None
            span = Span(offset=tensor.offset, size=length, tensor=tensor.tensor, dtype=tensor.dtype, shape=tensor.shape)
            regions.setdefault((tensor.offset, length), span)
        return cover(regions.values(), size) if regions else None
    except Malformed:
        return None


def externalised(path: Path, location: Callable[[str], str | None]) -> bytes:
    """The model with the bytes of its tensors in other files: of each tensor that :func:`spans` gives a span, and of
    each that is external already, in the whole file ``location(key)``; None leaves the tensor as it is. An external one
    without bytes needs no file: it goes into the model. Nothing else changes but the lengths of the messages around.

    Raises:
        Malformed: it is not an ONNX model
        OSError: it cannot be read
    """
    with mapped(path) as content:
        moved: dict[int, bytes] = {}
        for tensor in _tensors(content, deep=True):
            if tensor.is_external and _external(tensor).length == 0:
                moved[tensor.first] = _rewritten(content, tensor, encoded_field(_RAW_DATA, b""))
            elif tensor.is_external or tensor.stands_alone:
                target = location(tensor.key)
                if target is not None:
                    moved[tensor.first] = _moved(content, tensor, target)
        rewriting = _Rewriting(content, moved)
        return b"".join(rewriting.message("ModelProto", 0, len(content)))


def _span(tensor: _Tensor) -> Span:
    assert tensor.raw is not None
    first, last = tensor.raw
    return Span(offset=first, size=last - first, tensor=tensor.key, dtype=tensor.dtype, shape=tensor.shape)


def _external(tensor: _Tensor) -> External:
    assert tensor.entries is not None
    try:
        offset = int(tensor.entries.get("offset", "0") or "0")
        length = int(tensor.entries["length"]) if tensor.entries.get("length") else None
    except ValueError as error:
        raise Malformed(f"the tensor {tensor.key!r} has an offset or a length that is no number") from error
    if offset < 0 or (length is not None and length < 0):
        raise Malformed(f"the tensor {tensor.key!r} has an offset or a length below 0")
    if length is None and tensor.dtype is not None:
        length = size_in_bytes(tensor.dtype, tensor.shape)
    return External(
        tensor=tensor.key,
        location=str(PurePosixPath(location)) if (location := tensor.entries.get("location")) else "",
        offset=offset,
        length=length,
        dtype=tensor.dtype,
        shape=tensor.shape,
    )


def _tensors(content: Buffer, *, deep: bool) -> list[_Tensor]:
    """The tensors in the file's order, with their keys; unless ``deep`` only the initializers of the model's graph,
    whose keys are the same either way."""
    try:
        found = list(islice(_walk(content, Fields(content, _MAX_FIELDS), deep), _MAX_TENSORS + 1))
    except protobuf.Malformed as error:
        raise Malformed(str(error)) from error
    if len(found) > _MAX_TENSORS:
        raise Malformed("it has too many tensors")
    found.sort(key=lambda tensor: tensor.first)
    keys: dict[str, int] = {}
    keyed = [
        replace(tensor, key=_unused(tensor.key, keys))
        for tensor in sorted(found, key=lambda tensor: not tensor.is_initializer)
    ]
    return sorted(keyed, key=lambda tensor: tensor.first)


def _unused(name: str, keys: dict[str, int]) -> str:
    """``name`` with a number where ``keys`` has it; they count for each name, so that many of one cost no more."""
    key, number = name, keys.get(name, 1)
    while not key or key in keys:
        number += 1
        key = f"{name}#{number}"
    keys[name] = number
    keys.setdefault(key, 1)
    return key


def _walk(content: Buffer, fields: Fields, deep: bool) -> Iterator[_Tensor]:
    pending = [("ModelProto", 0, len(content), 0, False)]
    while pending:
        kind, start, stop, depth, is_main = pending.pop()
        children = _CHILDREN[kind]
        for field in fields.within(start, stop):
            child = children.get(field.number) if field.wire == protobuf.LENGTH_DELIMITED else None
            if child is None:
                continue
            if child == "TensorProto":
                is_initializer = is_main and field.number == _INITIALIZER
                if deep or is_initializer:
                    yield _tensor(content, fields, field.first, field.last, is_initializer)
            elif deep or (kind == "ModelProto" and field.number == _GRAPH_OF_MODEL):
                if depth >= _MAX_DEPTH:
                    raise Malformed("its graphs lie too deep in one another")
                is_graph = kind == "ModelProto" and field.number == _GRAPH_OF_MODEL
                pending.append((child, field.first, field.last, depth + 1, is_graph))


def _tensor(content: Buffer, fields: Fields, first: int, last: int, is_initializer: bool) -> _Tensor:
    name, location = "", 0
    dtype: str | None = None
    shape: list[int] = []
    raw: list[tuple[int, int]] = []
    entries: dict[str, str] = {}
    whole = True
    for field in fields.within(first, last):
        if field.number == _NAME and field.wire == protobuf.LENGTH_DELIMITED:
            name = _text(content, field)
        elif field.number == _DIMS and field.wire in (protobuf.VARINT, protobuf.LENGTH_DELIMITED):
            _add_sizes(shape, content, field)
        elif field.number == _DATA_TYPE and field.wire == protobuf.VARINT:
            dtype = _DTYPES.get(varint(content, field.first, field.last)[0])
        elif field.number == _RAW_DATA and field.wire == protobuf.LENGTH_DELIMITED:
            raw.append((field.first, field.last))
        elif field.number == _DATA_LOCATION and field.wire == protobuf.VARINT:
            location = varint(content, field.first, field.last)[0]
        elif field.number == _EXTERNAL_DATA and field.wire == protobuf.LENGTH_DELIMITED:
            key, value = _entry(content, fields, field.first, field.last)
            entries[key] = value
        elif field.number == _SEGMENT:
            whole = False
    return _Tensor(
        key=name,
        first=first,
        last=last,
        is_initializer=is_initializer,
        dtype=dtype,
        shape=tuple(shape),
        raw=raw[0] if len(raw) == 1 and whole else None,
        entries=entries if location == _EXTERNAL else None,
    )


def _add_sizes(shape: list[int], content: Buffer, field: protobuf.Field) -> None:
    offset = field.first
    while offset < field.last:
        size, offset = varint(content, offset, field.last)
        if size >= 2**63 or len(shape) == _MAX_RANK:
            raise Malformed("a tensor has a size below 0" if size >= 2**63 else "a tensor has too many dimensions")
        shape.append(size)


def _entry(content: Buffer, fields: Fields, first: int, last: int) -> tuple[str, str]:
    values = {field.number: _text(content, field) for field in fields.within(first, last)}
    return values.get(_KEY, ""), values.get(_VALUE, "")


def _text(content: Buffer, field: protobuf.Field) -> str:
    if field.last - field.first > _MAX_TEXT:
        raise Malformed("a tensor has a name, or what is said of its place, that is too long")
    return content[field.first : field.last].decode(errors="replace")


def _moved(content: Buffer, tensor: _Tensor, location: str) -> bytes:
    """The TensorProto with its bytes at ``location``."""
    entries = dict(tensor.entries or {})
    entries["location"] = location
    entries["offset"] = "0"
    length = _external(tensor).length if tensor.is_external else _span(tensor).size
    if length is not None:
        entries["length"] = str(length)
    said = b"".join(
        encoded_field(_EXTERNAL_DATA, encoded_field(_KEY, key.encode()) + encoded_field(_VALUE, value.encode()))
        for key, value in entries.items()
    )
    return _rewritten(content, tensor, said + encoded_varint(_DATA_LOCATION << 3) + encoded_varint(_EXTERNAL))


def _rewritten(content: Buffer, tensor: _Tensor, place: bytes) -> bytes:
    """The TensorProto with ``place`` for all that says where its bytes are."""
    kept = [
        content[field.begin : field.last]
        for field in Fields(content, _MAX_FIELDS).within(tensor.first, tensor.last)
        if field.number not in (_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION)
    ]
    return b"".join((*kept, place))


class _Rewriting:
    """Writes messages with some of their tensors, by where they began, replaced."""

    def __init__(self, content: Buffer, tensors: Mapping[int, bytes]) -> None:
        self._content = content
        self._tensors = tensors
        self._starts = sorted(tensors)
        self._fields = Fields(content, _MAX_FIELDS)

    def message(self, kind: str, start: int, stop: int) -> list[bytes]:
        parts, copied = [], start
        for field in self._fields.within(start, stop):
            child = _CHILDREN[kind].get(field.number) if field.wire == protobuf.LENGTH_DELIMITED else None
            if child is None or not self._holds(field.first, field.last):
                continue
            inner = [self._tensors[field.first]] if child == "TensorProto" else self.message(child, *field[3:])
            parts.append(self._content[copied : field.begin])
            parts.append(encoded_varint(field.number << 3 | protobuf.LENGTH_DELIMITED))
            parts.append(encoded_varint(sum(map(len, inner))))
            parts.extend(inner)
            copied = field.last
        parts.append(self._content[copied:stop])
        return parts

    def _holds(self, first: int, last: int) -> bool:
        index = bisect_left(self._starts, first)
        return index < len(self._starts) and self._starts[index] < last
