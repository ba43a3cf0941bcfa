"""Bodies of requests of the Open Inference Protocol V2: made up from a model's metadata, or brought along; JSON or the
binary tensor extension.

Sources: https://github.com/kserve/open-inference-protocol and Triton's binary tensor data extension.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

BINARY_HEADER: Final = "Inference-Header-Content-Length"
_NUMPY: Final = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
# What a size that a model leaves open becomes, beyond the first one (which is the rows).
_OPEN_SIZE: Final = 16
# Whole numbers stay below it: as indices or classes small ones are the likeliest to be valid.
_WHOLE: Final = 10
_LENGTH: Final = struct.Struct("<I")


class Unfit(Exception):
    """No request can be made of what is given; the text says why."""


class Tensor(NamedTuple):
    """An input of a model. ``shape`` has -1 where any size goes."""

    name: str
    datatype: str
    shape: Sequence[int]


class Body(NamedTuple):
    headers: dict[str, str]
    content: bytes


def made_up(inputs: Sequence[Tensor], rows: int | None, seed: int) -> dict[str, Any]:
    """A V2 request with random values that fit the inputs, its tensors' data as numpy arrays; the same ones for the
    same seed. ``rows`` is the first size of every input that leaves it open (None: one).

    Raises:
        Unfit: a datatype that is not known, or rows that the model does not take.
    """
    import numpy as np

    if not inputs:
        raise Unfit("The model does not say what its inputs are: give a request with --data or --file.")
    values = np.random.default_rng(seed)
    return {"inputs": [_made_up(each, rows, values) for each in inputs]}


def _made_up(tensor: Tensor, rows: int | None, values: Any) -> dict[str, Any]:
    shape = [size if size >= 0 else _OPEN_SIZE for size in tensor.shape]
    if shape and tensor.shape[0] < 0:
        shape[0] = rows or 1
    elif rows is not None and (shape[0] if shape else 1) != rows:
        fixed = f"is always of {shape[0]} rows" if shape else "has no rows"
        raise Unfit(f"Input {tensor.name!r} {fixed}: leave --rows out.")
    if tensor.datatype == "BYTES":
        data = [f"text {number}" for number in values.integers(0, 1000, shape).ravel()]
    elif tensor.datatype not in _NUMPY:
        raise Unfit(f"Input {tensor.name!r} is of {tensor.datatype!r}: give a request with --data or --file.")
    elif tensor.datatype.startswith("FP"):
        data = values.random(shape).astype(_NUMPY[tensor.datatype]).ravel()
    elif tensor.datatype == "BOOL":
        data = values.random(shape).ravel() < 0.5
    else:
        data = values.integers(0, _WHOLE, shape).astype(_NUMPY[tensor.datatype]).ravel()
    return {"name": tensor.name, "shape": shape, "datatype": tensor.datatype, "data": data}


def as_json(request: Mapping[str, Any]) -> Body:
    return Body({"Content-Type": "application/json"}, orjson.dumps(request, option=orjson.OPT_SERIALIZE_NUMPY))


def as_binary(request: Mapping[str, Any]) -> Body:
    """With every input in binary form behind the JSON, and asking for the outputs in the same.

    Raises:
        Unfit: a tensor whose data is not what its datatype and shape say.
    """
    tensors, parts = [], []
    for tensor in request["inputs"]:
        if not isinstance(tensor, Mapping) or "data" not in tensor:
            raise Unfit("Each of the request's inputs needs data as JSON, for it to be made binary.")
        parts.append(_binary(tensor))
        kept = {key: value for key, value in tensor.items() if key != "data"}
        kept["parameters"] = {**(tensor.get("parameters") or {}), "binary_data_size": len(parts[-1])}
        tensors.append(kept)
    parameters = {**(request.get("parameters") or {}), "binary_data_output": True}
    head = orjson.dumps({**request, "inputs": tensors, "parameters": parameters})
    headers = {"Content-Type": "application/octet-stream", BINARY_HEADER: str(len(head))}
    return Body(headers, b"".join([head, *parts]))


def _binary(tensor: Mapping[str, Any]) -> bytes:
    import numpy as np

    name, datatype, data = tensor.get("name"), str(tensor.get("datatype")), tensor["data"]
    try:
        if datatype == "BYTES":
            texts = [str(text).encode() for text in np.asarray(data, object).ravel()]
            return b"".join(_LENGTH.pack(len(text)) + text for text in texts)
        return bytes(np.asarray(data, _NUMPY[datatype]).tobytes())
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise Unfit(f"The data of input {name!r} cannot be made binary as {datatype}: {error}.") from None
