"""KServe's V1 protocol: ``{"instances": [...]}`` or ``{"inputs": ...}`` in, ``{"predictions": [...]}`` out.

V1 names no datatypes: they are those of the model's signature, as strictly as V2's JSON form takes them; of a
model without one they are told by the values, and a tensor without a name is ``input-0``, as in KServe.
Rows (``instances``: a tensor each, or an object of tensors by input) and columns (``inputs``: one tensor, or
an object of them) are read to the same :class:`modelyard.runtime.v2.Request`. What is no text stands as
``{"b64": "..."}``, as in TensorFlow Serving, both ways.
Source: https://kserve.github.io/website (V1 inference protocol), https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import numpy as np
import orjson

from modelyard.runtime import tensors
from modelyard.runtime.errors import FieldProblem, InvalidFields, RequestError
from modelyard.runtime.signature import BYTES, MAX_DIMENSIONS, Array, Signature, TensorSpec
from modelyard.runtime.v2 import Encoded, Request

_UNNAMED: Final = "input-0"
# More would only make the answer long.
_MAX_PROBLEMS: Final = 100
# Input names that a fault's message lists.
_MAX_NAMES: Final = 20
# By the types of all values; any others are taken for BYTES.
_GUESSED: Final = {
    frozenset[type](): "FP64",
    frozenset({bool}): "BOOL",
    frozenset({int}): "INT64",
    frozenset({float}): "FP64",
    frozenset({int, float}): "FP64",
}
_INT64_MAX: Final = 2**63 - 1

# Where a value stands, by its row.
_Path = Callable[[int], str]


def decode(body: memoryview | bytes, signature: Signature) -> Request:
    """Read and check a request's body.

    Raises:
        RequestError: 400 for a body that is no JSON, 422 with the faults of its fields.
    """
    document = _document(body)
    problems: list[FieldProblem] = []
    parameters = document.get("parameters")
    if parameters is not None and type(parameters) is not dict:
        problems.append(("parameters", "invalid_type", "parameters must be an object."))
    inputs: dict[str, Array] = {}
    if ("instances" in document) == ("inputs" in document):
        problems.append(
            ("instances", "required", 'Send either {"instances": [...]} (rows) or {"inputs": ...} (columns).')
        )
    elif "instances" in document:
        inputs = _rows(document["instances"], signature, problems)
    else:
        inputs = _columns(document["inputs"], signature, problems)
    if problems:
        raise InvalidFields(problems[:_MAX_PROBLEMS])
    return Request(id=None, inputs=inputs, parameters=parameters or {}, outputs=None, binary={}, binary_default=False)


def _document(body: memoryview | bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, "invalid_json", f"The body is not valid JSON: {error}.") from error
    if type(document) is not dict:
        raise RequestError(400, "invalid_json", 'The body must be a JSON object: {"instances": [...]}.')
    return document


# ------------------------------------------------------------------ rows and columns


def _rows(rows: Any, signature: Signature, problems: list[FieldProblem]) -> dict[str, Array]:
    if type(rows) is not list or not rows:
        problems.append(("instances", "required", "instances must be an array of at least one instance."))
        return {}
    if not _is_named(rows[0]):
        return _single(rows, signature, "instances", problems)
    columns: dict[str, list[Any]] = {name: [] for name in _names(signature) or rows[0]}
    for index, row in enumerate(rows):
        if not _is_named(row):
            message = "the first instance is an object of inputs by name, so all must be."
            problems.append((f"instances[{index}]", "invalid_type", message))
        elif row.keys() != columns.keys():
            problems.extend(islice(_misnamed(row, columns, f"instances[{index}]"), _MAX_PROBLEMS))
        else:
            for name, value in row.items():
                columns[name].append(value)
        if len(problems) >= _MAX_PROBLEMS:
            break
    if problems:
        return {}
    specs = _specs(signature)
    return {
        name: _array(data, name, specs.get(name), lambda row, name=name: f"instances[{row}].{name}", problems)  # type: ignore[misc]
        for name, data in columns.items()
    }


def _columns(columns: Any, signature: Signature, problems: list[FieldProblem]) -> dict[str, Array]:
    if not _is_named(columns):
        return _single(columns, signature, "inputs", problems)
    known = _names(signature)
    if known is not None and columns.keys() != set(known):
        problems.extend(islice(_misnamed(columns, known, "inputs"), _MAX_PROBLEMS))
        return {}
    specs = _specs(signature)
    return {
        name: _array(data, name, specs.get(name), lambda row, name=name: f"inputs.{name}[{row}]", problems)  # type: ignore[misc]
        for name, data in columns.items()
    }


def _single(data: Any, signature: Signature, path: str, problems: list[FieldProblem]) -> dict[str, Array]:
    names = _names(signature)
    if names is not None and len(names) != 1:
        message = f"The model takes the inputs {', '.join(map(repr, names))}: send an object of them by name."
        problems.append((f"{path}[0]" if path == "instances" else path, "missing_input", message))
        return {}
    name = names[0] if names else _UNNAMED
    return {name: _array(data, name, _specs(signature).get(name), lambda row: f"{path}[{row}]", problems)}


def _misnamed(given: Mapping[str, Any], known: Mapping[str, Any] | list[str], path: str) -> Iterator[FieldProblem]:
    takes = ", ".join(map(repr, islice(known, _MAX_NAMES))) + ", ..." * (len(known) > _MAX_NAMES)
    for name in known:
        if name not in given:
            yield path, "missing_input", f"Input {name!r} is missing."
    for name in given:
        if name not in known:
            message = f"The model has no input {name!r}. It takes {takes}."
            yield f"{path}.{name}", "unknown_input", message


def _names(signature: Signature) -> list[str] | None:
    return None if signature.inputs is None else [spec.name for spec in signature.inputs]


def _specs(signature: Signature) -> dict[str, TensorSpec]:
    return {spec.name: spec for spec in signature.inputs or ()}


def _is_named(value: Any) -> bool:
    """Whether it is an object of tensors by name, not bytes in base 64."""
    return type(value) is dict and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return type(value) is dict and value.keys() == {"b64"}


# ------------------------------------------------------------------ one tensor


def _array(data: Any, name: str, spec: TensorSpec | None, path: _Path, problems: list[FieldProblem]) -> Array:
    """The tensor; what is returned counts only if no problem was added."""
    if type(data) is not list:
        problems.append((path(0).removesuffix("[0]"), "invalid_type", f"Input {name!r} must be an array."))
        return tensors.NOTHING
    datatype = spec.datatype if spec is not None else _guess(data)
    faults: list[FieldProblem] = []
    shape = _nesting(data)
    array = _convert(data, datatype, shape, path(0), faults)
    if not faults and (spec is None or spec.fits(shape)):
        return array
    problems.extend(list(islice(_blame(data, name, datatype, spec, path), _MAX_PROBLEMS)) or faults)
    return tensors.NOTHING


def _blame(data: list[Any], name: str, datatype: str, spec: TensorSpec | None, path: _Path) -> Iterator[FieldProblem]:
    """Which rows are at fault: looked for only once it is known that some are."""
    first = _nesting(data)[1:]
    for row, value in enumerate(data):
        faults: list[FieldProblem] = []
        shape = _nesting([value])
        _convert([value], datatype, shape, path(row), faults)
        if faults:
            yield from faults
        elif spec is not None and not spec.fits([len(data), *shape[1:]]):
            wanted = f"{list(spec.shape[1:])} a row" if spec.fits([len(data), *spec.shape[1:]]) else list(spec.shape)
            yield path(row), "wrong_shape", f"Input {name!r} has shape {wanted}, not {shape[1:]}."
        elif shape[1:] != first:
            yield path(row), "ragged", f"It has shape {shape[1:]}, the first one {first}: all must have the same."


def _nesting(data: list[Any]) -> list[int]:
    """The shape that the first element of each level says."""
    shape, level = [], data
    while type(level) is list:
        shape.append(len(level))
        if not level:
            break
        level = level[0]
    return shape


def _guess(data: list[Any]) -> str:
    flat, shape = tensors.flatten(data)
    if shape is None:
        # It is ragged, which is found whatever the type.
        return "FP64"
    datatype = _GUESSED.get(frozenset(map(type, flat)), BYTES)
    return "UINT64" if datatype == "INT64" and max(flat) > _INT64_MAX else datatype


def _convert(data: list[Any], datatype: str, shape: list[int], path: str, problems: list[FieldProblem]) -> Array:
    if len(shape) > MAX_DIMENSIONS:
        message = f"Arrays have at most {MAX_DIMENSIONS} dimensions, not {len(shape)}."
        problems.append((path, "wrong_shape", message))
        return tensors.NOTHING
    if datatype != BYTES:
        return tensors.from_json(data, datatype, shape, path, problems)
    values: list[bytes] = []
    try:
        _take_bytes(data, shape, values)
    except _Unfit as fault:
        problems.append((path, *fault.args))
        return tensors.NOTHING
    array: Array = np.empty(len(values), np.object_)
    array[:] = values
    return tensors.reshaped(array, shape, path, problems)


class _Unfit(Exception):
    """A code and a message."""


def _take_bytes(value: Any, shape: list[int], values: list[bytes]) -> None:
    if shape:
        if type(value) is not list or len(value) != shape[0]:
            raise _Unfit("ragged", "It mixes values and arrays, or arrays of different lengths.")
        for item in value:
            _take_bytes(item, shape[1:], values)
    elif type(value) is str:
        values.append(value.encode())
    elif _is_base64(value):
        try:
            values.append(base64.b64decode(value["b64"], validate=True))
        except (binascii.Error, ValueError, TypeError) as error:
            raise _Unfit("invalid_base64", f"b64 must hold bytes in base 64: {error}.") from None
    else:
        raise _Unfit("wrong_type", 'BYTES are strings, or {"b64": "..."} for what is no text.')


# ------------------------------------------------------------------ the answer


def encode(outputs: Mapping[str, Array]) -> Encoded:
    """Write a response. Of a model with one output its rows; of one with several an object of outputs by name for
    each row, or of whole outputs where these do not have the same number of rows.

    Raises:
        RequestError: (500 ``model_error``, ``output_not_finite``) if it cannot be written.
    """
    arrays = {name: tensors.as_tensor(name, value) for name, value in outputs.items()}
    written = {name: _written(array, datatype) for name, (array, datatype) in arrays.items()}
    lengths = {array.shape[:1] for array, _ in arrays.values()}
    predictions: Any = written
    if len(written) == 1:
        predictions = next(iter(written.values()))
    elif len(lengths) == 1 and () not in lengths:
        predictions = [dict(zip(written, row, strict=True)) for row in zip(*written.values(), strict=True)]
    text = orjson.dumps({"predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in text:
        # orjson writes NaN and infinity as null.
        for name, (array, _) in arrays.items():
            tensors.check_finite(name, array.ravel())
    return Encoded(text)


def _written(array: Array, datatype: str) -> Any:
    """What orjson writes, also by row: an array as it is (its floats as short as they are), or lists."""
    if datatype == BYTES:
        return _texts(array.tolist())
    if array.ndim < 2 and array.dtype.kind != "f":
        # A row of these may be written by itself, and orjson does not know each of numpy's whole numbers.
        return array.tolist()
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _texts(value: Any) -> Any:
    if type(value) is list:
        return [_texts(item) for item in value]
    if type(value) is str:
        return value
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}
