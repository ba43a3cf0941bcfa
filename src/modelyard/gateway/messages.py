"""The messages of ``inference.GRPCInferenceService``, and inference's way from them to V2's binary form and back.

Names and numbers are the standard's, so whatever was generated from its own .proto speaks with this. The
classes are made from the table below when the module is imported: generated code would be bound to versions of
protobuf. Nothing is known of tensors here but where their bytes lie.
Source: https://github.com/kserve/open-inference-protocol (gRPC) and Triton's model repository extension.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Final

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from modelyard.gateway.problems import BodyLimit, Refusal, body_too_large
from modelyard.runtime.frames import Buffer, Head

_MESSAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("bool live = 1",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("bool ready = 1",),
    "ModelReadyRequest": ("string name = 1", "string version = 2"),
    "ModelReadyResponse": ("bool ready = 1",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("string name = 1", "string version = 2", "repeated string extensions = 3"),
    "ModelMetadataRequest": ("string name = 1", "string version = 2"),
    "TensorMetadata": ("string name = 1", "string datatype = 2", "repeated int64 shape = 3"),
    "ModelMetadataResponse": (
        "string name = 1", "repeated string versions = 2", "string platform = 3",
        "repeated TensorMetadata inputs = 4", "repeated TensorMetadata outputs = 5",
    ),
    "InferParameter": (
        "oneof bool bool_param = 1", "oneof int64 int64_param = 2", "oneof string string_param = 3",
        "oneof double double_param = 4", "oneof uint64 uint64_param = 5",
    ),
    "InferTensorContents": (
        "repeated bool bool_contents = 1", "repeated int32 int_contents = 2", "repeated int64 int64_contents = 3",
        "repeated uint32 uint_contents = 4", "repeated uint64 uint64_contents = 5",
        "repeated float fp32_contents = 6", "repeated double fp64_contents = 7", "repeated bytes bytes_contents = 8",
    ),
    "InferInputTensor": (
        "string name = 1", "string datatype = 2", "repeated int64 shape = 3", "map InferParameter parameters = 4",
        "InferTensorContents contents = 5",
    ),
    "InferRequestedOutputTensor": ("string name = 1", "map InferParameter parameters = 2"),
    "ModelInferRequest": (
        "string model_name = 1", "string model_version = 2", "string id = 3", "map InferParameter parameters = 4",
        "repeated InferInputTensor inputs = 5", "repeated InferRequestedOutputTensor outputs = 6",
        "repeated bytes raw_input_contents = 7",
    ),
    "InferOutputTensor": (
        "string name = 1", "string datatype = 2", "repeated int64 shape = 3", "map InferParameter parameters = 4",
        "InferTensorContents contents = 5",
    ),
    "ModelInferResponse": (
        "string model_name = 1", "string model_version = 2", "string id = 3", "map InferParameter parameters = 4",
        "repeated InferOutputTensor outputs = 5", "repeated bytes raw_output_contents = 6",
    ),
    "ModelStreamInferResponse": ("string error_message = 1", "ModelInferResponse infer_response = 2"),
    "RepositoryIndexRequest": ("string repository_name = 1", "bool ready = 2"),
    "ModelIndex": ("string name = 1", "string version = 2", "string state = 3", "string reason = 4"),
    "RepositoryIndexResponse": ("repeated ModelIndex models = 1",),
    "ModelRepositoryParameter": (
        "oneof bool bool_param = 1", "oneof int64 int64_param = 2", "oneof string string_param = 3",
        "oneof bytes bytes_param = 4",
    ),
    "RepositoryModelLoadRequest": (
        "string repository_name = 1", "string model_name = 2", "map ModelRepositoryParameter parameters = 3",
    ),
    "RepositoryModelLoadResponse": (),
    "RepositoryModelUnloadRequest": (
        "string repository_name = 1", "string model_name = 2", "map ModelRepositoryParameter parameters = 3",
    ),
    "RepositoryModelUnloadResponse": (),
}  # fmt: skip
_FIELD: Final = re.compile(r"(?:(repeated|oneof|map) )?(\w+) (\w+) = (\d+)")


def _classes() -> dict[str, Any]:
    """A class a message, in a pool of their own: whoever has generated code in this process keeps theirs."""
    file = descriptor_pb2.FileDescriptorProto(name="modelyard/inference.proto", package="inference", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields:
            _add_field(message, text)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}")) for name in _MESSAGES
    }


def _add_field(message: Any, text: str) -> None:
    found = _FIELD.fullmatch(text)
    assert found is not None, text
    label, kind, name, number = found.groups()
    field = message.field.add(name=name, number=int(number), label="LABEL_OPTIONAL")
    if label == "map":
        # On the wire a map is a list of pairs, whose message is named after the field.
        pair = message.nested_type.add(name=f"{name.capitalize()}Entry")
        pair.options.map_entry = True
        _add_field(pair, "string key = 1")
        _add_field(pair, f"{kind} value = 2")
        kind, label = f"{message.name}.{pair.name}", "repeated"
    if label == "repeated":
        field.label = field.LABEL_REPEATED
    if label == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind[0].isupper():
        field.type, field.type_name = field.TYPE_MESSAGE, f".inference.{kind}"
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")


MESSAGES: Final = _classes()


def read(name: str, content: bytes) -> Any:
    """A message of that name.

    Raises:
        Refusal: it is none.
    """
    try:
        return MESSAGES[name].FromString(content)
    except DecodeError as error:
        raise Refusal(400, "malformed_message", f"This is no {name}: {error}.") from None


def parameters(message: Any) -> dict[str, Any]:
    """A map of parameters as JSON has them."""
    found = {}
    for name, parameter in message.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(parameter, choice)
    return found


# ------------------------------------------------------------------ requests

_LENGTH: Final = struct.Struct("<I")
# Values that are rewritten at a time.
_PART: Final = 2**14
# The field of InferTensorContents by datatype, and what Python's array calls its elements as V2's binary form has them.
_CONTENTS: Final = {
    "BOOL": ("bool_contents", "B"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
    "BYTES": ("bytes_contents", ""),
}


def request_body(message: Any, limit: BodyLimit) -> tuple[bytes, int]:
    """A ModelInferRequest as a V2 body in binary form, and the length of its JSON part. Blocks for long where many
    values stand in ``contents``.

    Raises:
        Refusal: its tensors' contents are not where their types want them, are more than ``limit`` in this form, or
            something is asked of an output that is not to be had.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise _invalid(f"raw_input_contents has {len(raw)} elements for {len(message.inputs)} inputs.")
    inputs, parts, room = [], [], limit.size
    for index, tensor in enumerate(message.inputs):
        if raw and tensor.HasField("contents"):
            raise _invalid(f"inputs[{index}].contents: with raw_input_contents no tensor has contents of its own.")
        if not raw and _packed_size(tensor) > room:
            # On the wire small numbers take fewer bytes than here.
            raise body_too_large(limit)
        part = raw[index] if raw else _packed(tensor, f"inputs[{index}].contents")
        room -= len(part)
        parts.append(part)
        inputs.append(
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": {**parameters(tensor.parameters), "binary_data_size": len(part)},
            }
        )
    document: dict[str, Any] = {
        "parameters": {**parameters(message.parameters), "binary_data_output": True},
        "inputs": inputs,
        "outputs": [_wanted(output, f"outputs[{index}]") for index, output in enumerate(message.outputs)],
    }
    if message.id:
        document["id"] = message.id
    text = orjson.dumps(document)
    return b"".join([text, *parts]), len(text)


def _wanted(output: Any, path: str) -> dict[str, Any]:
    for name in output.parameters:
        # Whether tensors are answered in binary form is for the request's inputs to say.
        if name != "binary_data":
            raise _invalid(f"{path}.parameters.{name[:64]}: there is no such parameter of an output; leave it out.")
    return {"name": output.name}


def _packed_size(tensor: Any) -> int:
    """Bytes of the binary form of what stands in ``contents``."""
    field, code = _CONTENTS.get(tensor.datatype, ("", ""))
    values = getattr(tensor.contents, field) if field else ()
    if tensor.datatype == "BYTES":
        return len(values) * _LENGTH.size + sum(map(len, values))
    return len(values) * array(code).itemsize if field else 0


def _packed(tensor: Any, path: str) -> bytes:
    """The binary form of a tensor whose values stand in its ``contents``."""
    datatype, contents = tensor.datatype, tensor.contents
    field, code = _CONTENTS.get(datatype, ("", ""))
    for descriptor, _ in contents.ListFields():
        if descriptor.name != field:
            where = f"in {field}" if field else "in raw_input_contents"
            raise _invalid(f"{path}.{descriptor.name}: values of {datatype[:32] or 'no datatype'} stand {where}.")
    if not field:
        return b""  # nothing was sent of it; what is wrong with it is for the worker to say
    values = getattr(contents, field)
    if datatype == "BYTES":
        return b"".join(chain.from_iterable((_LENGTH.pack(len(value)), value) for value in values))
    try:
        packed = array(code)
        for part in _parts(values):
            packed.extend(part)
        return _little_endian(packed).tobytes()
    except OverflowError as error:
        raise _invalid(f"{path}.{field}: a value is out of the range of {datatype}: {error}.") from None


def _parts(values: Any) -> Iterable[Any]:
    """``values`` by parts, between which other threads may run: what makes one of them never stops for those."""
    return (values[start : start + _PART] for start in range(0, len(values), _PART))


def _little_endian(values: array[Any]) -> array[Any]:
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _invalid(detail: str) -> Refusal:
    return Refusal(422, "invalid_request", detail)


# ------------------------------------------------------------------ answers


def response(head: Head, content: Buffer, *, raw: bool) -> bytes:
    """What a worker answered to :func:`request_body`, as a ModelInferResponse: its tensors ``raw``, or in the fields of
    their types, as a request had them that was not (unless one of them is of a type that has none)."""
    length = head.params.get("header_length", len(content))
    view = memoryview(content)
    document = orjson.loads(view[:length])
    outputs = document.get("outputs", [])
    message = MESSAGES["ModelInferResponse"](
        model_name=document["model_name"],
        model_version=document["model_version"],
        id=document.get("id", ""),
        outputs=[
            {"name": output["name"], "datatype": output["datatype"], "shape": output["shape"]} for output in outputs
        ],
    )
    parts = []
    for output in outputs:
        end = length + output["parameters"]["binary_data_size"]
        parts.append(bytes(view[length:end]))
        length = end
    if raw or any(output["datatype"] not in _CONTENTS for output in outputs):
        message.raw_output_contents.extend(parts)
    else:
        for output, part in zip(message.outputs, parts, strict=True):
            field, code = _CONTENTS[output.datatype]
            place = getattr(output.contents, field)
            for values in _parts(_values(part, code)) if code else [_split(part)]:
                place.extend(values)
    encoded: bytes = message.SerializeToString()
    return encoded


def _values(part: bytes, code: str) -> array[Any]:
    return _little_endian(array(code, part))


def _split(part: bytes) -> Iterable[bytes]:
    offset = 0
    while offset < len(part):
        start = offset + _LENGTH.size
        offset = start + _LENGTH.unpack_from(part, offset)[0]
        yield part[start:offset]
