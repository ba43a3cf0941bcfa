"""Whether rows of an ONNX model may run together: by its shapes, and by a trial.

A file's shapes only say that a first dimension is free, not that it counts rows which know nothing of each other: it
may be time, or rows may be ranked, or scaled by all of them. So made-up rows run alone and together, as many together
as requests ever will, and the answers must be the same within what another order of additions makes of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

import numpy as np

from modelyard.runtime.engines.base import Batching, Inputs, Outputs, SyncModel
from modelyard.runtime.signature import BYTES, DATATYPES, Array, TensorSpec

# Names that converters give to sizes that they do not know.
_UNNAMED: Final = re.compile(r"unk__\d+|\?|")
# Of other free dimensions, tried in this order.
_SIZES: Final = (8, 64, 1)
# Unless the model's owner has asked for more: bytes of a batch's inputs, and seconds of the trial's parts. Rows of
# many values gain little by company, and what a trial takes of memory stays taken.
_MAX_BYTES: Final = 4 * 2**20
_SECONDS: Final = 0.5
_FEWEST_ALONE: Final = 4
_RELATIVE: Final = {np.dtype(np.float16): 1e-2, np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-9}


def rows_together(model: SyncModel, nodes: Sequence[Any], results: Sequence[Any], wanted: Batching) -> int:
    """As :meth:`SyncModel.rows_together`; ``nodes`` and ``results`` are ONNX Runtime's inputs and outputs."""
    if not _have_free_rows(nodes, results):
        return 0
    for size in _SIZES:
        try:
            return _Trial(model, nodes, size).rows(wanted)
        except Exception:  # noqa: S112 - whatever the model says of made-up values, it says by an exception
            continue
    return 0


def _have_free_rows(nodes: Sequence[Any], results: Sequence[Any]) -> bool:
    names = set()
    for node in (*nodes, *results):
        if not node.shape or type(node.shape[0]) is int:
            return False
    for node in nodes:
        first, *others = node.shape
        if isinstance(first, str) and not _UNNAMED.fullmatch(first):
            names.add(first)
        if isinstance(first, str) and first in others:
            return False
    return bool(nodes) and len(names) <= 1


class _Trial:
    """Made-up rows; free dimensions other than the first are of ``size``."""

    def __init__(self, model: SyncModel, nodes: Sequence[Any], size: int) -> None:
        self._model = model
        self._random = np.random.default_rng(0)
        sized = {node.name: tuple(s if type(s) is int else size for s in node.shape[1:]) for node in nodes}
        self._specs = [TensorSpec(s.name, s.datatype, sized[s.name]) for s in model.signature.inputs or ()]

    def rows(self, wanted: Batching) -> int:
        most = wanted.max_rows
        if not wanted.chosen:
            row = sum(DATATYPES[spec.datatype].itemsize * int(np.prod(spec.shape)) for spec in self._specs)
            most = min(most, _MAX_BYTES // max(row, 1))
            began = perf_counter()
            self._run(self._inputs(1), slice(0, 1))
            most = min(most, int(2 * _SECONDS / (perf_counter() - began)))
        if most < 2:
            return 0
        inputs = self._inputs(most)
        together = self._run(inputs, slice(0, most))
        began = perf_counter()
        for tried, row in enumerate(_spread(most)):
            if tried >= _FEWEST_ALONE and perf_counter() - began > _SECONDS:
                break
            alone = self._run(inputs, slice(row, row + 1))
            if not all(_same(alone[name], together[name], row, most) for name in together):
                return 0
        return most

    def _inputs(self, rows: int) -> Inputs:
        return {spec.name: self._values(spec.datatype, (rows, *spec.shape)) for spec in self._specs}

    def _values(self, datatype: str, shape: tuple[int, ...]) -> Array:
        if datatype[0] == "F":
            return self._random.standard_normal(shape).astype(DATATYPES[datatype])
        # Whatever whole numbers are, counts, flags or places in a table: 0 and 1 are among them.
        bits = self._random.integers(0, 2, shape)
        if datatype == BYTES:
            return np.where(bits == 1, b"1", b"0").astype(np.object_)
        return bits.astype(DATATYPES[datatype])

    def _run(self, inputs: Inputs, rows: slice) -> Outputs:
        return self._model.predict({name: array[rows] for name, array in inputs.items()}, None, {})


def _spread(count: int) -> list[int]:
    """All numbers below ``count``, from the ends inwards: what reaches from row to row shows there first."""
    order = [0, count - 1, count // 2, 1]
    return list(dict.fromkeys([*order, *range(count)]))


def _same(alone: Array, together: Array, row: int, rows: int) -> bool:
    if alone.shape[:1] != (1,) or together.shape[:1] != (rows,) or alone.shape[1:] != together.shape[1:]:
        return False
    if together.dtype.kind != "f":
        return bool((alone[0] == together[row]).all())
    tolerance = _RELATIVE[together.dtype]
    finite = np.abs(together[np.isfinite(together)])
    largest = float(finite.max()) if finite.size else 0.0
    return np.allclose(alone[0], together[row], rtol=tolerance, atol=tolerance * largest / 10, equal_nan=True)
