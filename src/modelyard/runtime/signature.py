"""What tensors a model takes and gives, in the words of the Open Inference Protocol V2."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BYTES: Final = "BYTES"

# Arrays of BYTES hold Python bytes, whichever way they came. BF16 is missing: numpy has no such type.
DATATYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    BYTES: np.dtype(np.object_),
}
_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}


class TensorSpec(msgspec.Struct, frozen=True):
    """One tensor of a signature; -1 in ``shape`` stands for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name!r} ({self.datatype} {list(self.shape)})"

    def fits(self, shape: list[int]) -> bool:
        """Whether a tensor of ``shape`` may be passed for this one."""
        if len(shape) != len(self.shape):
            return False
        for wanted, size in zip(self.shape, shape, strict=True):  # noqa: SIM110 - a generator costs more than the check
            if wanted not in (-1, size):
                return False
        return True


class Signature(msgspec.Struct, frozen=True):
    """``None`` where a model does not say: then any tensors are let through to it."""

    inputs: tuple[TensorSpec, ...] | None = None
    outputs: tuple[TensorSpec, ...] | None = None

    def metadata(self, platform: str, version: str) -> dict[str, Any]:
        """The model metadata of V2, without the name under which the model is served."""
        return {
            "platform": platform,
            "versions": [version],
            "inputs": [_tensor_metadata(spec) for spec in self.inputs or ()],
            "outputs": [_tensor_metadata(spec) for spec in self.outputs or ()],
        }


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def datatype_of(array: Array) -> str | None:
    """The V2 name of an array's type; text and objects count as BYTES. None: V2 has no name for it."""
    name = _NAMES.get(array.dtype)
    if name is None and array.dtype.kind in "US":
        return BYTES
    return name


# numpy's limit.
MAX_DIMENSIONS: Final = 64


def elements(shape: list[int] | tuple[int, ...]) -> int:
    """How many elements a tensor of ``shape`` has."""
    return math.prod(shape)
