"""The Open Inference Protocol V2: one request and one response, JSON and the binary tensor extension.

Says nothing of HTTP but the content type and the length of the JSON part (``Inference-Header-Content-Length``).
Values are checked here against the model's signature; single tensors are the matter of :mod:`tensors`.
Source: https://github.com/kserve/open-inference-protocol and Triton's binary tensor data extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import orjson

from modelyard.runtime import tensors
from modelyard.runtime.errors import FieldProblem, InvalidFields, RequestError
from modelyard.runtime.signature import DATATYPES, MAX_DIMENSIONS, Array, Signature, TensorSpec

JSON_TYPE: Final = "application/json"
BINARY_TYPE: Final = "application/octet-stream"
# More would only make the answer long: whoever sends a thousand faults starts with the first.
_MAX_PROBLEMS: Final = 100
_MAX_DIMENSION: Final = 2**63 - 1


class Request(msgspec.Struct):
    """A checked request. ``outputs``: the names asked for, None for all; ``binary``: which of them (or,
    with ``binary_default``, which more) go out in binary form."""

    id: str | None
    inputs: dict[str, Array]
    parameters: dict[str, Any]
    outputs: tuple[str, ...] | None
    binary: dict[str, bool]
    binary_default: bool


class Encoded(msgspec.Struct):
    """A response's body. ``header_length``: bytes of its JSON part if binary tensors follow it."""

    body: bytes
    content_type: str = JSON_TYPE
    header_length: int | None = None


def decode(body: memoryview | bytes, header_length: int | None, signature: Signature) -> Request:
    """Read and check a request's body; ``header_length`` as in :class:`Encoded`.

    Raises:
        RequestError: 400 for a body that is no JSON, 422 with every fault of its fields.
    """
    return check(*split(body, header_length), signature)


def check(document: dict[str, Any], binary: memoryview | None, signature: Signature) -> Request:
    """:func:`decode` of what :func:`split` gave.

    Raises:
        RequestError: 422 with every fault of the fields.
    """
    problems: list[FieldProblem] = []
    request_id = document.get("id")
    if request_id is not None and type(request_id) is not str:
        problems.append(("id", "invalid_type", "id must be a string."))
    parameters = _parameters(document, "parameters", problems)
    inputs = _inputs(document, binary, signature, problems)
    outputs, asked = outputs_asked(document, signature, problems)
    if problems:
        raise InvalidFields(problems[:_MAX_PROBLEMS])
    return Request(request_id, inputs, parameters, outputs, asked, parameters.get("binary_data_output") is True)


def split(body: memoryview | bytes, header_length: int | None) -> tuple[dict[str, Any], memoryview | None]:
    """The JSON object of a body, and what stands behind it.

    Raises:
        RequestError: (400) if there is none.
    """
    binary = None
    if header_length is not None:
        if not 0 < header_length <= len(body):
            raise RequestError(
                400,
                "invalid_header_length",
                f"Inference-Header-Content-Length is {header_length}, but the body has {len(body)} bytes.",
            )
        view = memoryview(body)
        body, binary = view[:header_length], view[header_length:]
    if not body:
        raise RequestError(
            400, "invalid_json", 'The body is empty: send {"inputs": [{"name", "shape", "datatype", "data"}]} as JSON.'
        )
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, "invalid_json", f"The body is not valid JSON: {error}.") from error
    if type(document) is not dict:
        raise RequestError(400, "invalid_json", 'The body must be a JSON object: {"inputs": [...]}.')
    return document, binary


def _parameters(holder: dict[str, Any], path: str, problems: list[FieldProblem]) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        problems.append((path, "invalid_type", "parameters must be an object."))
        return {}
    return parameters


def _inputs(
    document: dict[str, Any], binary: memoryview | None, signature: Signature, problems: list[FieldProblem]
) -> dict[str, Array]:
    entries = document.get("inputs")
    if type(entries) is not list:
        problems.append(("inputs", "required", "inputs must be an array of tensors."))
        return {}
    expected = None if signature.inputs is None else {spec.name: spec for spec in signature.inputs}
    arrays: dict[str, Array] = {}
    parts = _BinaryParts(binary)
    for index, entry in enumerate(entries):
        if len(problems) >= _MAX_PROBLEMS:
            break
        path = f"inputs[{index}]"
        if type(entry) is not dict:
            problems.append((path, "invalid_type", 'A tensor is an object: {"name", "shape", "datatype", "data"}.'))
            continue
        name = entry.get("name")
        spec = _named(name, path, expected, arrays, problems)
        array = _tensor(entry, path, spec, parts, problems)
        if type(name) is str:
            arrays[name] = array
    parts.finish(problems)
    for spec in signature.inputs or ():
        if spec.name not in arrays:
            problems.append(("inputs", "missing_input", f"Input {spec} is missing."))
    return arrays


def _named(
    name: Any,
    path: str,
    expected: dict[str, TensorSpec] | None,
    seen: dict[str, Array],
    problems: list[FieldProblem],
) -> TensorSpec | None:
    """The signature's tensor of that name."""
    if type(name) is not str or not name:
        problems.append((f"{path}.name", "required", "A tensor needs a name."))
        return None
    if name in seen:
        problems.append((f"{path}.name", "duplicate_input", f"Input {name!r} was given before."))
    if expected is None:
        return None
    spec = expected.get(name)
    if spec is None:
        known = ", ".join(str(spec) for spec in expected.values()) or "no inputs"
        problems.append((f"{path}.name", "unknown_input", f"The model has no input {name!r}. It takes {known}."))
    return spec


def _tensor(
    entry: dict[str, Any], path: str, spec: TensorSpec | None, parts: _BinaryParts, problems: list[FieldProblem]
) -> Array:
    """One input; what is returned counts only if no problem was added."""
    before = len(problems)
    datatype = _datatype(entry.get("datatype"), path, spec, problems)
    shape = _shape(entry.get("shape"), path, spec, problems)
    size = None
    if "parameters" in entry:
        size = _parameters(entry, f"{path}.parameters", problems).get("binary_data_size")
    if size is not None:
        if "data" in entry:
            problems.append((f"{path}.data", "conflict", "A tensor has data or binary_data_size, not both."))
        part = parts.take(size, f"{path}.parameters.binary_data_size", problems)
        if part is None or datatype is None or shape is None or len(problems) > before:
            return tensors.NOTHING
        return tensors.from_binary(part, datatype, shape, f"{path}.parameters.binary_data_size", problems)
    if "data" not in entry:
        problems.append((f"{path}.data", "required", "A tensor needs data (or binary_data_size in its parameters)."))
    elif datatype is not None:
        return tensors.from_json(entry["data"], datatype, shape, f"{path}.data", problems)
    return tensors.NOTHING


def _datatype(datatype: Any, path: str, spec: TensorSpec | None, problems: list[FieldProblem]) -> str | None:
    path += ".datatype"
    if type(datatype) is not str:
        problems.append((path, "required", f"A tensor needs a datatype: one of {', '.join(DATATYPES)}."))
        return None
    if datatype not in DATATYPES:
        hint = "send FP32" if datatype == "BF16" else f"V2 has {', '.join(DATATYPES)}"
        problems.append((path, "unknown_datatype", f"Datatype {datatype!r} is not supported: {hint}."))
        return None
    if spec is not None and datatype != spec.datatype:
        problems.append((path, "wrong_datatype", f"Input {spec.name!r} is {spec.datatype}, not {datatype}."))
    return datatype


def _shape(shape: Any, path: str, spec: TensorSpec | None, problems: list[FieldProblem]) -> list[int] | None:
    path += ".shape"
    if type(shape) is not list:
        problems.append((path, "required", "A tensor needs its shape: an array of whole numbers."))
        return None
    if len(shape) > MAX_DIMENSIONS:
        # Their product alone could take minutes.
        problems.append((path, "wrong_shape", f"{len(shape)} dimensions; a tensor has at most {MAX_DIMENSIONS}."))
        return None
    for size in shape:
        if type(size) is not int or not 0 <= size <= _MAX_DIMENSION:
            problems.append((path, "invalid_shape", f"{size!r} is no size of a dimension: whole numbers from 0 up."))
            return None
    if spec is not None and not spec.fits(shape):
        problems.append((path, "wrong_shape", f"Input {spec.name!r} has shape {list(spec.shape)}, not {shape}."))
    return shape


class _BinaryParts:
    """The tensors behind the JSON part of a binary body, taken in the order of the inputs."""

    def __init__(self, content: memoryview | None) -> None:
        self._content = content
        self._offset = 0
        self._lost = False

    def take(self, size: Any, path: str, problems: list[FieldProblem]) -> memoryview | None:
        if type(size) is not int or size < 0:
            problems.append((path, "invalid_type", "binary_data_size is a number of bytes."))
            self._lost = True
        elif self._content is None:
            message = "binary tensors need the header Inference-Header-Content-Length: the length of the JSON part."
            problems.append((path, "no_binary_part", message))
            self._lost = True
        elif not self._lost:
            end = self._offset + size
            if end <= len(self._content):
                part = self._content[self._offset : end]
                self._offset = end
                return part
            left = len(self._content) - self._offset
            problems.append((path, "wrong_length", f"{size} bytes asked for, but the body has only {left} left."))
            self._lost = True
        return None

    def finish(self, problems: list[FieldProblem]) -> None:
        if self._content is not None and not self._lost and self._offset != len(self._content):
            left = len(self._content) - self._offset
            problems.append(("", "trailing_bytes", f"{left} bytes follow the last binary tensor."))


def outputs_asked(
    document: dict[str, Any], signature: Signature, problems: list[FieldProblem]
) -> tuple[tuple[str, ...] | None, dict[str, bool]]:
    """The names asked for, and for which of them the form was chosen: binary or not."""
    entries = document.get("outputs")
    if entries is None or entries == []:
        return None, {}
    if type(entries) is not list:
        problems.append(("outputs", "invalid_type", "outputs must be an array of objects with a name."))
        return None, {}
    known = None if signature.outputs is None else {spec.name for spec in signature.outputs}
    names: dict[str, None] = {}
    forms: dict[str, bool] = {}
    for index, entry in enumerate(entries):
        path = f"outputs[{index}]"
        name = entry.get("name") if type(entry) is dict else None
        if type(name) is not str or not name:
            problems.append((f"{path}.name", "required", "An output asked for needs a name."))
            continue
        if name in names:
            problems.append((f"{path}.name", "duplicate_output", f"Output {name!r} was asked for before."))
        elif known is not None and name not in known:
            message = f"The model has no output {name!r}. It gives {', '.join(sorted(known))}."
            problems.append((f"{path}.name", "unknown_output", message))
        names[name] = None
        wanted = _parameters(entry, f"{path}.parameters", problems).get("binary_data")
        if wanted is not None:
            if type(wanted) is not bool:
                problems.append((f"{path}.parameters.binary_data", "invalid_type", "binary_data is true or false."))
            forms[name] = wanted is True
    return tuple(names), forms


def encode(request: Request, outputs: Mapping[str, Array], model: str, version: str) -> Encoded:
    """Write a response: the outputs asked for, in the order asked for.

    Raises:
        RequestError: (500 ``model_error``, ``output_not_finite``; 422 ``output_not_text``) if it cannot be written.
    """
    names = request.outputs if request.outputs is not None else tuple(outputs)
    entries: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name in names:
        if name not in outputs:
            raise RequestError(500, "model_error", f"The model did not answer with the output {name!r}.")
        array, datatype = tensors.as_tensor(name, outputs[name])
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": array.shape}
        if request.binary.get(name, request.binary_default):
            parts.append(tensors.to_binary(array, datatype))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = tensors.to_json(name, array, datatype)
        entries.append(entry)
    head: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": entries}
    if request.id is not None:
        head["id"] = request.id
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in text:
        # orjson writes NaN and infinity as null; looking for that costs less than looking at every array.
        for entry in entries:
            if "data" in entry:
                tensors.check_finite(entry["name"], entry["data"])
    if not parts:
        return Encoded(text)
    return Encoded(b"".join([text, *parts]), BINARY_TYPE, len(text))
