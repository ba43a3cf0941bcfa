"""What a model takes and gives, where its file says so: of an ONNX model the inputs and outputs of its graph, and who
wrote it. Source: onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard import protobuf
from modelyard.domain.registry import Framework, Signature, Tensor
from modelyard.protobuf import LENGTH_DELIMITED, VARINT, Buffer, Field, Fields, varint
from modelyard.registry.formats.parts import Malformed, mapped

_MAX_FIELDS: Final = 2_000_000
_MAX_TEXT: Final = 1024
_MAX_ENDS: Final = 1000

_PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPSETS = 2, 3, 7, 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_INITIALIZER, _INPUT, _OUTPUT = 5, 11, 12
_TENSOR_NAME = 8
# By the names of the Open Inference Protocol V2.
_DATATYPES: Final = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "BYTES", 9: "BOOL",
    10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 16: "BF16",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class End:
    """An input or output: ``datatype`` by V2's names; ``shape`` has -1 where any length goes."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """``producer`` is what wrote the file, ``opset`` the version of the operators that it is written in (0: it does
    not say)."""

    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    producer: str = ""
    producer_version: str = ""
    opset: int = 0


def interface_of(path: Path) -> Interface:
    """What the ONNX model at ``path`` says of itself. Inputs with a value of their own (initializers) are none, nor
    are those that are no tensors, for which V2 has no name.

    Raises:
        Malformed: it is not an ONNX model
        OSError: it cannot be read
    """
    with mapped(path) as content:
        try:
            return _interface(content, Fields(content, _MAX_FIELDS))
        except protobuf.Malformed as error:
            raise Malformed(str(error)) from error


def told_by(model: Path) -> tuple[Framework | None, Signature]:
    """What the ONNX model at this path was made with, and what it takes and gives, as a version says it; nothing of a
    file that is none, or cannot be read: whoever pushes it is told what is wrong with it."""
    try:
        interface = interface_of(model)
    except (Malformed, OSError):
        return None, Signature()
    framework = Framework(name="onnx", version=f"opset {interface.opset}" if interface.opset else "")
    return framework, Signature(inputs=_tensors(interface.inputs), outputs=_tensors(interface.outputs))


def _tensors(ends: tuple[End, ...]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=end.name, datatype=end.datatype, shape=end.shape) for end in ends)


def _interface(content: Buffer, fields: Fields) -> Interface:
    graph: Field | None = None
    texts = {_PRODUCER: "", _PRODUCER_VERSION: ""}
    opset = 0
    for field in fields.within(0, len(content)):
        if field.wire != LENGTH_DELIMITED:
            continue
        if field.number == _GRAPH:
            graph = field
        elif field.number in texts:
            texts[field.number] = _text(content, field)
        elif field.number == _OPSETS:
            opset = max(opset, _opset(content, fields, field))
    ends: dict[int, list[End | None]] = {_INPUT: [], _OUTPUT: []}
    own: set[str] = set()
    if graph is not None:
        for field in fields.within(graph.first, graph.last):
            if field.wire != LENGTH_DELIMITED:
                continue
            if field.number in ends and len(ends[field.number]) < _MAX_ENDS:
                ends[field.number].append(_end(content, fields, field))
            elif field.number == _INITIALIZER:
                own |= {_text(content, f) for f in fields.within(field.first, field.last) if _is_text(f, _TENSOR_NAME)}
    inputs = tuple(end for end in ends[_INPUT] if end is not None and end.name not in own)
    outputs = tuple(end for end in ends[_OUTPUT] if end is not None)
    return Interface(
        inputs=inputs, outputs=outputs, producer=texts[_PRODUCER], producer_version=texts[_PRODUCER_VERSION],
        opset=opset,
    )  # fmt: skip


def _opset(content: Buffer, fields: Fields, opset: Field) -> int:
    """The version of the standard operators; 0 for those of others."""
    domain, version = "", 0
    for field in fields.within(opset.first, opset.last):
        if _is_text(field, _OPSET_DOMAIN):
            domain = _text(content, field)
        elif field.number == _OPSET_VERSION and field.wire == VARINT:
            version, _ = varint(content, field.first, field.last)
    return version if domain in ("", "ai.onnx") else 0


def _end(content: Buffer, fields: Fields, info: Field) -> End | None:
    name, datatype, shape = "", None, list[int]()
    for field in fields.within(info.first, info.last):
        if _is_text(field, 1):
            name = _text(content, field)
        elif _is_text(field, 2):
            for kind in fields.within(field.first, field.last):
                if _is_text(kind, 1):  # tensor_type
                    datatype, shape = _tensor_type(content, fields, kind)
    return End(name, datatype, tuple(shape)) if name and datatype is not None else None


def _tensor_type(content: Buffer, fields: Fields, kind: Field) -> tuple[str | None, list[int]]:
    datatype, shape = None, list[int]()
    for field in fields.within(kind.first, kind.last):
        if field.number == 1 and field.wire == VARINT:
            datatype = _DATATYPES.get(varint(content, field.first, field.last)[0])
        elif _is_text(field, 2):
            shape = [_length(content, fields, f) for f in fields.within(field.first, field.last) if _is_text(f, 1)]
    return datatype, shape


def _length(content: Buffer, fields: Fields, dimension: Field) -> int:
    length = -1
    for field in fields.within(dimension.first, dimension.last):
        if field.number == 1 and field.wire == VARINT:
            length, _ = varint(content, field.first, field.last)
    # A negative length is one of 64 bits here; none of a tensor is as long.
    return length if 0 <= length < 2**63 else -1


def _is_text(field: Field, number: int) -> bool:
    return field.number == number and field.wire == LENGTH_DELIMITED


def _text(content: Buffer, field: Field) -> str:
    return bytes(content[field.first : min(field.last, field.first + _MAX_TEXT)]).decode(errors="replace")
