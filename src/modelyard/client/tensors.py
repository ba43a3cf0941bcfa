"""Arrays and nested lists to the JSON form of the Open Inference Protocol V2, and back.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.client.errors import FieldError, InvalidRequest
from modelyard.client.types import ModelMetadata, TensorMetadata

_NUMPY = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
_DATATYPE = {name: datatype for datatype, name in _NUMPY.items()}


class Prediction(dict[str, Any]):
    """Output name → nested list of the output's shape; ``raw()`` is the whole V2 response."""

    def __init__(self, response: Mapping[str, Any]) -> None:
        outputs = response.get("outputs") or []
        super().__init__({o["name"]: _nested(o.get("data") or [], o.get("shape") or []) for o in outputs})
        self._response = response

    def raw(self) -> Mapping[str, Any]:
        return self._response


def request(inputs: object, metadata: ModelMetadata) -> dict[str, Any]:
    """A V2 request for ``inputs``: a mapping from input name to array or nested list, or the array or
    list alone for a model with one input. Datatypes come from the model's metadata, then from the values.
    A single row for an input whose first dimension is the batch becomes a batch of one.

    Raises:
        InvalidRequest: with all that is wrong, each with its path.
    """
    named = inputs if isinstance(inputs, Mapping) else {_only_input(metadata): inputs}
    known = {tensor.name: tensor for tensor in metadata.inputs}
    tensors, errors = [], []
    for name, value in named.items():
        try:
            tensors.append(_tensor(str(name), value, known.get(str(name))))
        except (ValueError, TypeError, OverflowError) as error:
            errors.append(FieldError(path=f"inputs.{name}", code="invalid_value", message=str(error)))
    if errors:
        raise _invalid(errors)
    return {"inputs": tensors}


def zeros(metadata: ModelMetadata) -> dict[str, Any]:
    """A V2 request of one row of zeros (empty texts) that fits the model's signature."""
    tensors = []
    for tensor in metadata.inputs:
        shape = [size if size > 0 else 1 for size in tensor.shape]
        count = 1
        for size in shape:
            count *= size
        zero: object = "" if tensor.datatype == "BYTES" else False if tensor.datatype == "BOOL" else 0
        tensors.append({"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": [zero] * count})
    return {"inputs": tensors}


def _only_input(metadata: ModelMetadata) -> str:
    names = [tensor.name for tensor in metadata.inputs]
    if len(names) == 1:
        return names[0]
    message = f"{metadata.name} has {len(names)} inputs: give a mapping with {', '.join(names) or 'their names'}."
    raise _invalid([FieldError(path="inputs", code="invalid_type", message=message)])


def _invalid(errors: Sequence[FieldError]) -> InvalidRequest:
    body = {
        "code": "invalid_inputs",
        "detail": "The inputs do not make a request.",
        "errors": [{"path": e.path, "code": e.code, "message": e.message} for e in errors],
    }
    return InvalidRequest(422, body)


def _tensor(name: str, value: object, known: TensorMetadata | None) -> dict[str, Any]:
    # Whoever has an array has numpy loaded; whoever has not need not wait for it.
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        shape, data, datatype = _from_array(numpy.asarray(value), known)
    else:
        data = []
        shape = _walk(value, data, 0, [])
        datatype = known.datatype if known else _datatype(data)
    if known and len(shape) + 1 == len(known.shape) and known.shape[0] in (-1, 1):
        shape = [1, *shape]
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def _from_array(array: Any, known: TensorMetadata | None) -> tuple[list[int], list[Any], str]:
    shape = list(array.shape)
    if array.dtype.kind in "USO":
        return shape, [str(item) for item in array.ravel().tolist()], "BYTES"
    datatype = known.datatype if known and known.datatype in _NUMPY else _DATATYPE.get(array.dtype.name)
    if datatype is None:
        raise ValueError(f"arrays of {array.dtype.name} have no V2 datatype")
    return shape, array.astype(_NUMPY[datatype]).ravel().tolist(), datatype


def _walk(value: object, data: list[Any], depth: int, shape: list[int]) -> list[int]:
    """Append the scalars of a nested list to ``data``; return its shape."""
    if not isinstance(value, (list, tuple)):
        if depth != len(shape):
            raise ValueError("the list is ragged: not all rows have the same depth")
        data.append(value)
        return shape
    if depth == len(shape):
        if data:
            raise ValueError("the list is ragged: not all rows have the same depth")
        shape.append(len(value))
    elif shape[depth] != len(value):
        raise ValueError(f"the list is ragged: a row has {len(value)} values, the first has {shape[depth]}")
    for item in value:
        _walk(item, data, depth + 1, shape)
    return shape


def _datatype(data: Sequence[object]) -> str:
    kinds = {type(item) for item in data}
    if kinds == {bool}:
        return "BOOL"
    if kinds <= {int}:
        return "INT64"
    if kinds <= {int, float}:
        return "FP64"
    return "BYTES"


def _nested(data: Any, shape: Sequence[int]) -> Any:
    """V2 lets data come flat or nested; here it is always nested, as ``shape`` says."""
    if not shape:
        return data[0] if isinstance(data, list) and len(data) == 1 else data
    if len(shape) == 1 or not data or isinstance(data[0], list):
        return data
    step = len(data) // shape[0] if shape[0] else 0
    return [_nested(data[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]
