"""The ``onnx`` engine: ONNX Runtime, with weights mapped from their files where the model keeps them apart.

ONNX Runtime maps external weights, but then packs them into private copies of its own, unless told not
to: mapped weights load in milliseconds and are shared by all instances, at the price of some speed on
large batches. So packing is on for models without external weights, and left for later for the others
(:mod:`~modelyard.runtime.engines.onnx_packing`).
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

# Its Linux builds report to their maker from the import on, unless told not to (since 1.29).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from modelyard.runtime import limits
from modelyard.runtime.engines import onnx_batches
from modelyard.runtime.engines.base import Batching, Inputs, LoadOptions, Outputs, SyncModel, source_file
from modelyard.runtime.engines.onnx_files import external_files
from modelyard.runtime.engines.onnx_packing import mapped_size, pack_later
from modelyard.runtime.errors import LoadFailure, RequestError, is_out_of_memory
from modelyard.runtime.signature import BYTES, Array, Signature, TensorSpec

PLATFORM: Final = "onnx_onnxv1"
_DATATYPES: Final = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": BYTES,
}
# What ZipMap makes of a classifier's probabilities: a dict from class to probability for each row.
_ZIPMAPS: Final = ("seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))")
# Azure's sends the data away; TensorRT's builds its engines for minutes. Neither is meant by "serve this".
_PROVIDERS_LEFT_OUT: Final = ("AzureExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider")


def load(options: LoadOptions) -> SyncModel:
    path = source_file(options, (".onnx",), "onnx")
    weights = external_files(path)
    if weights:
        limits.allow_mapped(mapped_size(weights))
    model = _OnnxModel(_session(path, options, weights, packed=not weights), options.threads)
    if weights:
        make = partial(_session, path, options, weights, packed=True)
        pack_later(model, weights, make, alone=options.threads == 1)
    return model


def _session(path: Path, options: LoadOptions, weights: list[Path], *, packed: bool) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    # A waiting thread that spins takes the core from the other models on this machine.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not packed:
        settings.add_session_config_entry("session.disable_prepacking", "1")
    if weights:
        # Memory patterns would set aside private memory for all weights, mapped or not.
        settings.enable_mem_pattern = False
    providers = [name for name in ort.get_available_providers() if name not in _PROVIDERS_LEFT_OUT]
    try:
        return ort.InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # ORT's exceptions have no common base but this
        if is_out_of_memory(error):
            raise
        raise LoadFailure("corrupt_file", f"{path} cannot be loaded as an ONNX model: {error}") from error


def _specs(nodes: list[Any], kind: str) -> tuple[TensorSpec, ...]:
    specs = []
    for node in nodes:
        if kind == "output" and node.type in _ZIPMAPS:
            specs.append(TensorSpec(node.name, "FP32", (-1, -1)))
            continue
        datatype = _DATATYPES.get(node.type)
        if datatype is None:
            raise LoadFailure(
                "unsupported_signature",
                f"The model's {kind} {node.name!r} is a {node.type}, which V2 cannot carry: convert the model so that "
                f"its {kind}s are tensors of a plain type (with skl2onnx: options={{'zipmap': False}}).",
            )
        specs.append(TensorSpec(node.name, datatype, tuple(s if type(s) is int and s >= 0 else -1 for s in node.shape)))
    return tuple(specs)


class _OnnxModel(SyncModel):
    may_use_loop = True
    may_batch = True

    def __init__(self, session: Any, threads: int) -> None:
        signature = Signature(_specs(session.get_inputs(), "input"), _specs(session.get_outputs(), "output"))
        super().__init__(PLATFORM, signature, threads)
        self.use(session)
        self._names = tuple(spec.name for spec in signature.outputs or ())
        self._tied = _tied(session.get_inputs())
        self._texts = tuple(spec.name for spec in signature.inputs or () if spec.datatype == BYTES)

    def use(self, session: Any) -> None:
        """Answer from now on by this session of the same model."""
        self.session = session
        self._run = session.run
        # Of these each keeps its session alive.
        self._nodes = session.get_inputs(), session.get_outputs()

    def predict(self, inputs: Inputs, outputs: tuple[str, ...] | None, parameters: dict[str, Any]) -> Outputs:
        names = self._names if outputs is None else outputs
        for name in self._texts:
            inputs[name] = _as_text(name, inputs[name])
        for symbol, axes in self._tied.items():
            sizes = {inputs[name].shape[axis] for name, axis in axes}
            if len(sizes) > 1:
                tied = " and ".join(f"{name!r} has {inputs[name].shape[axis]}" for name, axis in axes)
                raise RequestError(422, "input_refused", f"The inputs must agree in their size {symbol!r}: {tied}.")
        try:
            answers = self._run(names, inputs)
        except InvalidArgument as error:
            # An index beyond what it points into, for example.
            raise RequestError(422, "input_refused", f"The model refuses these inputs: {error}") from error
        except Exception as error:
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from error
            raise
        return {
            name: answer if isinstance(answer, np.ndarray) else _from_zipmap(answer)
            for name, answer in zip(names, answers, strict=True)
        }

    def rows_together(self, wanted: Batching) -> int:
        return onnx_batches.rows_together(self, *self._nodes, wanted)


def _tied(nodes: list[Any]) -> dict[str, list[tuple[str, int]]]:
    """The (input, axis) pairs that the model gives one name, where there are several: their sizes must agree."""
    axes: dict[str, list[tuple[str, int]]] = {}
    for node in nodes:
        for axis, size in enumerate(node.shape):
            if isinstance(size, str):
                axes.setdefault(size, []).append((node.name, axis))
    return {symbol: places for symbol, places in axes.items() if len(places) > 1}


def _as_text(name: str, array: Array) -> Array:
    text = np.empty(array.size, np.object_)
    try:
        text[:] = [value.decode() for value in array.ravel()]
    except UnicodeDecodeError as error:
        raise RequestError(
            422, "input_refused", f"Input {name!r} holds bytes that are not UTF-8, which ONNX strings are."
        ) from error
    return text.reshape(array.shape)


def _from_zipmap(rows: list[dict[Any, float]]) -> Array:
    """The probabilities as a matrix; columns in the ascending order of their classes."""
    return np.array([[row[key] for key in sorted(row)] for row in rows], np.float32)
