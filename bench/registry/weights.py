"""Models of a size and their next versions, drawn anew from the same seeds wherever they are needed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

TENSORS, ROWS, COLUMNS = 96, 1024, 2560
# Of a model in bfloat16, so that it has a quarter of the bytes.
HALF_COLUMNS = 1344
# As large as weights are, and as far as one step of a fine-tune moves them.
_SCALE, _NOISE, _STEP = np.float32(0.02), np.float32(0.001), np.float32(3.0e-6)


@dataclass(frozen=True)
class Tensor:
    """``draw`` makes its values; one at a time is in memory."""

    name: str
    rows: int
    columns: int
    draw: Callable[[], Array]
    kind: str = "F32"

    @property
    def size(self) -> int:
        return self.rows * self.columns * (4 if self.kind == "F32" else 2)


def write(folder: Path, tensors: Sequence[Tensor]) -> Path:
    """A safetensors file in a folder of its own (https://github.com/huggingface/safetensors#format)."""
    folder.mkdir(parents=True)
    path = folder / "model.safetensors"
    header: dict[str, Any] = {}
    offset = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.kind, "shape": [tensor.rows, tensor.columns],
            "data_offsets": [offset, offset + tensor.size],
        }  # fmt: skip
        offset += tensor.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            file.write(tensor.draw().data)
    return path


def trained(count: int = TENSORS, rows: int = ROWS, columns: int = COLUMNS) -> list[Tensor]:
    def drawn(number: int) -> Callable[[], Array]:
        return lambda: _normal(number, rows, columns) * _SCALE

    return [Tensor(f"layers.{i:02}.weight", rows, columns, drawn(i)) for i in range(count)]


def with_another(tensors: Sequence[Tensor], number: int) -> list[Tensor]:
    """One tensor is another one."""
    old = tensors[number]
    return _with(tensors, replace(old, draw=lambda: _normal(1000, old.rows, old.columns) * _SCALE), number)


def with_changes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """One per cent of the weights is changed, in three of the tensors."""
    changed, each = list(tensors), sum(tensor.rows for tensor in tensors) // 300
    for number in (len(tensors) // 5, len(tensors) // 2, len(tensors) - 1):
        changed = _with(changed, _moved(tensors[number], each), number)
    return changed


def with_insertion(tensors: Sequence[Tensor]) -> list[Tensor]:
    """One per cent of new rows, in the middle of a tensor in the middle."""
    number, more = len(tensors) // 2, sum(tensor.rows for tensor in tensors) // 100
    old = tensors[number]

    def draw() -> Array:
        rows, values = _normal(3000, more, old.columns) * _SCALE, old.draw()
        return np.concatenate([values[: old.rows // 3], rows, values[old.rows // 3 :]])

    return _with(tensors, replace(old, rows=old.rows + more, draw=draw), number)


def fine_tuned(tensors: Sequence[Tensor]) -> list[Tensor]:
    """All weights have moved a little: in bfloat16 that is another value for 8 of 100."""

    def moved(number: int, old: Tensor) -> Callable[[], Array]:
        return lambda: old.draw() + _normal(4000 + number, old.rows, old.columns) * _STEP

    return [replace(tensor, draw=moved(i, tensor)) for i, tensor in enumerate(tensors)]


def halves(tensors: Sequence[Tensor]) -> list[Tensor]:
    """In bfloat16: the upper halves."""

    def upper(whole: Tensor) -> Callable[[], Array]:
        return lambda: (whole.draw().view(np.uint32) >> 16).astype(np.uint16)

    return [replace(tensor, kind="BF16", draw=upper(tensor)) for tensor in tensors]


def _normal(seed: int, rows: int, columns: int) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, columns), np.float32)


def _moved(old: Tensor, rows: int) -> Tensor:
    def draw() -> Array:
        values, first = old.draw(), (old.rows - rows) // 2
        values[first : first + rows] += _normal(2000, rows, old.columns) * _NOISE
        return values

    return replace(old, draw=draw)


def _with(tensors: Sequence[Tensor], tensor: Tensor, number: int) -> list[Tensor]:
    return [*tensors[:number], tensor, *tensors[number + 1 :]]
