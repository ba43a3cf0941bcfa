"""Triton's generate extension: ``{"text_input": "...", "parameters": {...}}`` in, outputs by name out, as one JSON
object or, of a stream, one each piece.

A field is the input of that name; a single value stands for a tensor of one element, and leading dimensions of 1
may be left out. An input may stand in ``parameters`` too; what else stands there is the request's parameters.
Source: https://docs.nvidia.com/deeplearning/triton-inference-server (generate extension).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from modelyard.runtime import tensors
from modelyard.runtime.errors import FieldProblem, InvalidFields, RequestError
from modelyard.runtime.signature import BYTES, Array, Signature, TensorSpec
from modelyard.runtime.v2 import Encoded, Request

_OF_VALUES: Final = {bool: "BOOL", int: "INT64", float: "FP64", str: BYTES}


def decode(body: memoryview | bytes, signature: Signature) -> Request:
    """Read and check a request's body.

    Raises:
        RequestError: 400 for a body that is no JSON, 422 with the faults of its fields.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, "invalid_json", f"The body is not valid JSON: {error}.") from error
    if type(document) is not dict:
        raise RequestError(400, "invalid_json", 'The body must be a JSON object: {"text_input": "..."}.')
    problems: list[FieldProblem] = []
    specs = None if signature.inputs is None else {spec.name: spec for spec in signature.inputs}
    parameters = document.pop("parameters", None)
    if parameters is None:
        parameters = {}
    elif type(parameters) is not dict:
        problems.append(("parameters", "invalid_type", "parameters must be an object."))
        parameters = {}
    request_id = None
    if specs is None or "id" not in specs:
        request_id = document.pop("id", None)
        if request_id is not None and type(request_id) is not str:
            problems.append(("id", "invalid_type", "id must be a string."))
    inputs: dict[str, Array] = {}
    for name, value in document.items():
        if specs is not None and name not in specs:
            known = ", ".join(map(str, specs.values())) or "no inputs"
            problems.append((name, "unknown_input", f"The model has no input {name!r}. It takes {known}."))
        else:
            inputs[name] = _tensor(value, None if specs is None else specs[name], name, problems)
    for name, spec in (specs or {}).items():
        if name in inputs:
            continue
        if name in parameters:
            inputs[name] = _tensor(parameters.pop(name), spec, f"parameters.{name}", problems)
        else:
            problems.append((name, "missing_input", f"Input {spec} is missing."))
    if problems:
        raise InvalidFields(problems)
    return Request(request_id, inputs, parameters, None, {}, False)


def _tensor(value: Any, spec: TensorSpec | None, path: str, problems: list[FieldProblem]) -> Array:
    """One input; what is returned counts only if no problem was added."""
    data = value if type(value) is list else [value]
    flat, shape = tensors.flatten(data)
    if shape is None:
        problems.append((path, "ragged", "It mixes values and arrays, or arrays of different lengths."))
        return tensors.NOTHING
    if spec is not None:
        missing = len(spec.shape) - len(shape)
        # A single value stands for a scalar too.
        shape = [] if missing == -1 and type(value) is not list else [1] * missing + shape
        if not spec.fits(shape):
            problems.append((path, "wrong_shape", f"Input {spec.name!r} has shape {list(spec.shape)}, not {shape}."))
            return tensors.NOTHING
    datatype = spec.datatype if spec is not None else _datatype(flat)
    return tensors.from_json(flat, datatype, shape, path, problems)


def _datatype(values: list[Any]) -> str:
    kinds = set(map(type, values))
    if kinds == {int, float}:
        return "FP64"
    return _OF_VALUES.get(kinds.pop(), BYTES) if len(kinds) == 1 else BYTES


def encode(request: Request, outputs: Mapping[str, Array], model: str, version: str) -> Encoded:
    """Write a response: outputs by name, one element as a single value, more as a flat array.

    Raises:
        RequestError: (500 ``model_error``, ``output_not_finite``; 422 ``output_not_text``) if it cannot be written.
    """
    document: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        document["id"] = request.id
    arrays = {}
    for name, value in outputs.items():
        array, datatype = tensors.as_tensor(name, value)
        arrays[name] = data = tensors.to_json(name, array, datatype)
        document[name] = data[0] if array.size == 1 else data
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in text:
        for name, data in arrays.items():
            tensors.check_finite(name, data)
    return Encoded(text)


def event(body: bytes) -> bytes:
    """A server-sent event of one JSON text."""
    return b"data: %b\n\n" % body


def joined(pieces: Sequence[Mapping[str, Array]]) -> dict[str, Any]:
    """The outputs of a stream for a caller who wants them at once: those of all pieces one after the other, along
    their first dimension.

    Raises:
        RequestError: (500 ``model_error``) if they do not go together.
    """
    if len(pieces) == 1:
        return dict(pieces[0])
    found: dict[str, list[Array]] = {}
    for piece in pieces:
        for name, value in piece.items():
            found.setdefault(name, []).append(np.atleast_1d(tensors.as_tensor(name, value)[0]))
    try:
        return {name: np.concatenate(values) for name, values in found.items()}
    except ValueError as error:
        raise RequestError(
            500, "model_error", f"The pieces of the model's answer cannot be joined: {error}. Ask for a stream of them."
        ) from error
