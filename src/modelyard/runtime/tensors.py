"""One tensor's contents, between V2's two forms (JSON, binary) and numpy arrays.

Faults are appended to a list, so that a request is answered with all of them at once. Where the JSON
form has more than one reading, this is ours:

- Numbers are not guessed at: whole-number types take JSON integers only (``2.0`` is refused), BOOL takes
  ``true`` and ``false`` only, nothing takes numbers in strings, and what a type cannot hold is refused.
- FP16 is accepted in JSON as any other float: each of its values has an exact JSON number. BF16 is not
  supported: numpy, which all engines speak, has no such type.
- BYTES are JSON strings (UTF-8); arbitrary bytes need the binary form, both ways.
- JSON has no NaN and no infinity. An output that holds one is refused (``output_not_finite``) rather than
  turned into ``null``, which V2's clients do not expect; the binary form carries it.
"""

from __future__ import annotations

import struct
from itertools import chain
from typing import Any, Final

import numpy as np

from modelyard.runtime.errors import FieldProblem, RequestError
from modelyard.runtime.signature import BYTES, DATATYPES, Array, datatype_of, elements

_JSON_TYPES: Final[dict[str, frozenset[type]]] = {
    name: frozenset({bool} if name == "BOOL" else {str} if name == BYTES else {int, float} if name[0] == "F" else {int})
    for name in DATATYPES
}
_MAY_OVERFLOW: Final = ("FP16", "FP32")
# Each element of a binary BYTES tensor stands behind its length.
_LENGTH: Final = struct.Struct("<I")


def from_json(data: Any, datatype: str, shape: list[int] | None, path: str, problems: list[FieldProblem]) -> Array:
    """The array of a JSON ``data`` field, flat or nested, in the shape asked for (None: that one is itself
    at fault, so only the values are checked). What is returned counts only if no problem was added."""
    if type(data) is not list:
        problems.append((path, "invalid_type", f"data must be an array of values, not {_json_name(data)}."))
        return NOTHING
    flat, nesting = flatten(data)
    if nesting is None:
        problems.append((path, "ragged", "data mixes values and arrays, or arrays of different lengths."))
        return NOTHING
    if shape is not None:
        count = elements(shape)
        if len(nesting) > 1 and nesting != shape:
            problems.append((path, "wrong_shape", f"data is nested as {nesting}, but shape says {shape}."))
        elif len(flat) != count:
            problems.append((path, "wrong_length", f"data has {len(flat)} elements, but shape {shape} has {count}."))
    array = _convert(flat, datatype, path, problems)
    if problems or shape is None:
        return array
    return reshaped(array, shape, path, problems)


def reshaped(array: Array, shape: list[int], path: str, problems: list[FieldProblem]) -> Array:
    """``array`` in ``shape``; what is returned counts only if no problem was added."""
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError):
        # Only for sizes that no array has: [0, 2**63], or more dimensions than numpy's 64.
        problems.append((path, "wrong_shape", f"{shape} is no shape that an array can have."))
        return array


def flatten(data: list[Any]) -> tuple[list[Any], list[int] | None]:
    """The values in row-major order, and the sizes of the nested lists (None: they are ragged)."""
    nesting = [len(data)]
    while data and type(data[0]) is list:
        width = len(data[0])
        for row in data:
            if type(row) is not list or len(row) != width:
                return data, None
        data = list(chain.from_iterable(data))
        nesting.append(width)
    return data, nesting


def _convert(flat: list[Any], datatype: str, path: str, problems: list[FieldProblem]) -> Array:
    wanted = _JSON_TYPES[datatype]
    if not wanted.issuperset(map(type, flat)):
        index = next(i for i, value in enumerate(flat) if type(value) not in wanted)
        problems.append((path, "wrong_type", _wrong_type(index, flat[index], datatype)))
        return NOTHING
    dtype = DATATYPES[datatype]
    if datatype == BYTES:
        return _objects([value.encode() for value in flat])
    if datatype in _MAY_OVERFLOW:
        array = _rounded(flat, dtype)
        if not np.isfinite(array).all():
            index = int(np.isfinite(array).argmin())
            problems.append((path, "out_of_range", _out_of_range(index, flat[index], datatype)))
        return array
    try:
        return np.array(flat, dtype)
    except OverflowError:
        bounds = np.iinfo(dtype)
        index = next(i for i, value in enumerate(flat) if not bounds.min <= value <= bounds.max)
        problems.append((path, "out_of_range", _out_of_range(index, flat[index], datatype)))
        return NOTHING


@np.errstate(over="ignore")
def _rounded(flat: list[Any], dtype: np.dtype[Any]) -> Array:
    """The nearest values that ``dtype`` has; infinity, and no warning, beyond its range."""
    return np.array(flat, dtype)


def _wrong_type(index: int, value: Any, datatype: str) -> str:
    wanted = {"B": "strings", "F": "numbers"}.get(datatype[0], "whole numbers")
    if datatype == "BOOL":
        wanted = "true and false"
    if type(value) is float and wanted == "whole numbers":
        # An integer beyond 64 bits arrives as a float too.
        return f"element {index} ({value!r}) is no whole number that {datatype} holds."
    return f"element {index} is {_json_name(value)}; {datatype} holds {wanted}."


def _out_of_range(index: int, value: Any, datatype: str) -> str:
    dtype = DATATYPES[datatype]
    bounds: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return f"element {index} ({value!r}) is out of the range of {datatype}: {bounds.min} to {bounds.max}."


def from_binary(content: memoryview, datatype: str, shape: list[int], path: str, problems: list[FieldProblem]) -> Array:
    """The array of a tensor's part of a binary body: a read-only view of it where alignment allows.

    ``path`` is that of ``binary_data_size``; its value is the length of ``content``.
    """
    dtype, count = DATATYPES[datatype], elements(shape)
    if datatype == BYTES:
        values = _split_bytes(content)
        if values is None:
            message = "the part is no sequence of elements, each behind its length (4 bytes, little-endian)."
            problems.append((path, "malformed", message))
            return NOTHING
        if len(values) != count:
            problems.append((path, "wrong_length", f"{len(values)} elements, but shape {shape} has {count}."))
            return NOTHING
        return reshaped(_objects(values), shape, path, problems)
    if len(content) != count * dtype.itemsize:
        message = f"{len(content)} bytes, but {datatype} {shape} takes {count * dtype.itemsize}."
        problems.append((path, "wrong_length", message))
        return NOTHING
    if datatype == "BOOL":
        # Any byte may come in; only 0 and 1 are valid memory of a numpy bool.
        return reshaped(np.frombuffer(content, np.uint8) != 0, shape, path, problems)
    array: Array = np.frombuffer(content, dtype.newbyteorder("<"))
    if not array.flags.aligned:
        array = array.copy()
    return reshaped(array, shape, path, problems)


def _split_bytes(content: memoryview) -> list[bytes] | None:
    values, offset, end = [], 0, len(content)
    while offset < end:
        if offset + _LENGTH.size > end:
            return None
        start = offset + _LENGTH.size
        offset = start + _LENGTH.unpack_from(content, offset)[0]
        if offset > end:
            return None
        values.append(bytes(content[start:offset]))
    return values


def to_json(name: str, array: Array, datatype: str) -> Any:
    """What stands in an output's ``data``, flat: an array that orjson writes, or a list."""
    if datatype != BYTES:
        return array.ravel()
    try:
        return [value if type(value) is str else bytes(value).decode() for value in _texts(array)]
    except UnicodeDecodeError as error:
        raise RequestError(
            422,
            "output_not_text",
            f"Output {name!r} holds bytes that are not UTF-8, which JSON cannot carry: ask for it in binary form "
            '("parameters": {"binary_data": true} in the request\'s outputs).',
        ) from error


def check_finite(name: str, data: Any) -> None:
    """Refuse what JSON has no number for in what :func:`to_json` gave.

    Raises:
        RequestError: (500 ``output_not_finite``)
    """
    if isinstance(data, np.ndarray) and data.dtype.kind == "f" and not np.isfinite(data).all():
        index = int(np.isfinite(data).argmin())
        raise RequestError(
            500,
            "output_not_finite",
            f"The model answered {data[index]} (element {index} of output {name!r}), which JSON cannot carry. "
            'To get it nevertheless, ask for binary output ("parameters": {"binary_data_output": true}).',
        )


def to_binary(array: Array, datatype: str) -> bytes:
    """An output's part of a binary body: little-endian, row-major."""
    if datatype == BYTES:
        values = [value.encode() if type(value) is str else bytes(value) for value in _texts(array)]
        return b"".join(chain.from_iterable((_LENGTH.pack(len(value)), value) for value in values))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def as_tensor(name: str, value: Any) -> tuple[Array, str]:
    """What a model answered, as an array that V2 has a datatype for, and that datatype.

    Raises:
        RequestError: (500 ``model_error``) if it is none.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise RequestError(500, "model_error", f"The model's output {name!r} is no array: {error}.") from error
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    datatype = datatype_of(array)
    if datatype is None:
        raise RequestError(
            500, "model_error", f"The model's output {name!r} is of type {array.dtype}, which V2 has no datatype for."
        )
    if array.dtype == object and not {str, bytes}.issuperset(map(type, _texts(array))):
        raise RequestError(
            500, "model_error", f"The model's output {name!r} is an array of objects other than text or bytes."
        )
    return array, datatype


def _texts(array: Array) -> list[Any]:
    # tolist() turns numpy's own str and bytes scalars into Python's.
    values: list[Any] = array.ravel().tolist()
    return values


def _objects(values: list[bytes]) -> Array:
    array: Array = np.empty(len(values), np.object_)
    array[:] = values
    return array


def _json_name(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "a number")


# Stands in for a tensor that is at fault.
NOTHING: Final[Array] = np.empty(0)
