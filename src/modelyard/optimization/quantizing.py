"""An ONNX model with smaller numbers, and what it is worth beside the original.

Sources: ONNX Runtime, https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, and its
:mod:`onnxruntime.transformers.float16`.
"""

from __future__ import annotations

import platform
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any, Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.optimization import data, graphs, jobs, measuring, scoring
from modelyard.optimization.jobs import Calibration, Method, Metric, Rows
from modelyard.runtime.errors import LoadFailure, RequestError
from modelyard.runtime.signature import Array, Signature

Tell = Callable[[str], None]

# What is worth quantizing, by what computes with weights. Convolutions only by measured ranges: with ranges that are
# found anew for each input they are slower than in floating point.
_DYNAMIC: Final = ("Attention", "EmbedLayerNormalization", "Gather", "Gemm", "LSTM", "MatMul")
_STATIC: Final = ("Conv", "ConvTranspose", "Gather", "Gemm", "MatMul")
# These alone do not compute: an embedding that is looked up makes a model worth it, what merely moves numbers does not.
_QUANTIZED: Final = frozenset((
    "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat",
    "QAttention", "QEmbedLayerNormalization", "QGemm", "QLinearConv", "QLinearMatMul", "QuantizeLinear",
))  # fmt: skip
_CLASSIC: Final = ("TreeEnsemble", "Linear", "SVM", "Scaler", "Normalizer", "LabelEncoder")
# The first with ranges for each channel.
_OPSET: Final = 13
_CALIBRATION_ROWS: Final = 1024
_MADE_UP_ROWS: Final = 256
_ROWS_A_CALL: Final = 32


def quantize(job: jobs.Quantize, tell: Tell) -> jobs.Quantized:
    """Write the new model to ``job.to`` and measure both.

    Raises:
        InvalidRequest: the model or the data do not go with the method
        LoadFailure, RequestError: a model does not load, or does not answer
    """
    source, to = Path(job.source), Path(job.to)
    model = graphs.read(source)
    _check(model, job)
    before = measuring.load(source, "onnx", threads=job.threads)
    signature = before.signature
    assert signature.inputs is not None
    calls, of = _evaluation(job, signature)
    opset = graphs.opset(model)
    notes: list[str] = []
    # The current folder is the user's: symbolic shape inference leaves there what it did not understand, and onnx
    # refuses to write weights beside a model where such a file lies in it.
    with tempfile.TemporaryDirectory(prefix="modelyard-") as empty, chdir(empty):
        if job.method is Method.FP16:
            tell("Converting to fp16")
            _to_fp16(model, source, to, job)
            kept = _kept_in_fp16(model, graphs.read(to))
        else:
            ranges = _calibration(job, signature) if job.method is Method.STATIC_INT8 else []
            notes = _to_int8(model, source, to, job, ranges, tell)
            kept = _kept_in_int8(to)
    quantized, skipped = kept
    if not quantized:
        raise _nothing(graphs.operators(model), job.method)
    tell("Comparing with the original")
    after = _loaded(to, job)
    compared = scoring.score(
        measuring.answers(before, calls), measuring.answers(after, calls),
        [call.labels for call in calls if call.labels is not None] or None, answer=job.answer,
        # On the border between classes random numbers lie far more often than real ones.
        metric=job.metric or (Metric.COSINE if of is Rows.RANDOM else None),
        of=of,
    )  # fmt: skip
    tell("Measuring both")
    one = data.resized(calls[0], signature, 1)
    latency_before, latency = measuring.side_by_side([before, after], [one, one], job.seconds)
    return jobs.Quantized(
        quantized=dict(quantized), skipped=skipped, opset_before=opset, opset=graphs.opset(graphs.read(to)),
        size_before=graphs.size(source), size=graphs.size(to), score=compared, latency_before=latency_before,
        latency=latency, threads=job.threads, notes=notes,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- what is asked


def _check(model: Any, job: jobs.Quantize) -> None:
    found = graphs.operators(model)
    if found.keys() & _QUANTIZED:
        message = f"The model is quantized already ({graphs.listed(found)}): take the one that it was made of."
        raise _problem("model", "quantized_already", message)
    wanted = {Method.DYNAMIC_INT8: _DYNAMIC, Method.STATIC_INT8: _STATIC}.get(job.method)
    if wanted is not None and not found.keys() & set(wanted):
        raise _nothing(found, job.method)
    if job.method is Method.STATIC_INT8 and job.calibration is None:
        message = "static-int8 measures the ranges of the model's tensors: give it real inputs (--calibration FILE)."
        raise _problem("calibration", "required", message)
    names = {node.name for node in graphs.nodes(model.graph)}
    if unknown := [name for name in job.exclude if name not in names]:
        raise _problem("exclude", "unknown_node", f"The model has no node named {', '.join(map(repr, unknown))}.")


def _nothing(found: Counter[str], method: Method) -> InvalidRequest:
    """Why nothing can be quantized."""
    what = f"The model has nothing that {method} makes smaller; its operators are {graphs.listed(found)}."
    if "Conv" in found and method is Method.DYNAMIC_INT8:
        why = "Convolutions need measured ranges: take static-int8 with --calibration."
    elif any(name.startswith(_CLASSIC) for name in found):
        why = "Classical models (trees, linear models, preprocessing) have no 8-bit or 16-bit form, and need none."
    elif method is Method.FP16:
        why = "There are no 32-bit floating-point weights in it."
    else:
        wanted, where = (
            (_DYNAMIC, "") if method is Method.DYNAMIC_INT8 else (_STATIC, ", outside of branches and loops")
        )
        why = f"It takes {', '.join(wanted)} with constant weights in FP32{where}."
    return _problem("model", "not_quantizable", f"{what} {why}")


def _evaluation(job: jobs.Quantize, signature: Signature) -> tuple[list[data.Call], Rows]:
    """The best rows that there are to compare the models on."""
    if job.evaluation is not None:
        of, calls = Rows.EVALUATION, data.read(Path(job.evaluation), signature, "evaluation", labels=job.labels)
    elif job.calibration is not None:
        of, calls = Rows.CALIBRATION, data.read(Path(job.calibration), signature, "calibration")
    else:
        of, calls = Rows.RANDOM, [data.made_up(signature, _MADE_UP_ROWS, job.seed)]
    return list(data.cut(calls, signature, _ROWS_A_CALL)), of


def _calibration(job: jobs.Quantize, signature: Signature) -> list[data.Call]:
    assert job.calibration is not None
    # Histograms are gathered from calls of one shape alone.
    step = _ROWS_A_CALL if job.calibration_method is Calibration.MINMAX else 1
    calls = list(data.cut(data.read(Path(job.calibration), signature, "calibration"), signature, step))
    most = max(1, _CALIBRATION_ROWS // max(call.rows for call in calls))
    return calls[:: -(-len(calls) // most)]


def _loaded(path: Path, job: jobs.Quantize) -> Any:
    try:
        return measuring.load(path, "onnx", threads=job.threads)
    except (LoadFailure, RequestError) as error:
        message = f"What {job.method} made of the model does not load: {error}"
        raise _problem("model", "quantization_failed", message) from error


# ------------------------------------------------------------------------------------------- int8


def _to_int8(model: Any, source: Path, to: Path, job: jobs.Quantize, ranges: list[data.Call], tell: Tell) -> list[str]:
    """Gives what there is to say of how it was done."""
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    apart, narrow = graphs.is_apart(source), not _multiplies_in_8_bits()
    # Without these instructions the sums of full 8-bit products are cut off (AVX2).
    notes = ["weights in 7 bits: this processor cuts off sums of full 8-bit products"] if narrow else []
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
        tell("Preparing the model")
        prepared = _prepared(model, Path(folder), apart, job)
        common: dict[str, Any] = {
            "per_channel": True, "reduce_range": narrow, "weight_type": QuantType.QInt8,
            "nodes_to_exclude": list(job.exclude), "use_external_data_format": apart,
        }  # fmt: skip
        try:
            if job.method is Method.DYNAMIC_INT8:
                tell("Quantizing")
                operators = [name for name in _DYNAMIC if name != "Gemm"]  # which are taken apart into MatMul and Add
                branches = {"EnableSubgraph": True}
                quantize_dynamic(
                    str(prepared), str(to), op_types_to_quantize=operators, extra_options=branches, **common
                )
                return notes
            tell(f"Calibrating on {sum(call.rows for call in ranges)} rows")
            methods = {
                Calibration.MINMAX: CalibrationMethod.MinMax, Calibration.ENTROPY: CalibrationMethod.Entropy,
                Calibration.PERCENTILE: CalibrationMethod.Percentile,
            }  # fmt: skip
            is_x86 = platform.machine().lower() in ("x86_64", "amd64")
            quantize_static(
                str(prepared), str(to), _Reader(ranges), quant_format=QuantFormat.QDQ,
                # Which kernels are the fastest: U8S8 on x86, S8S8 elsewhere.
                activation_type=QuantType.QUInt8 if is_x86 else QuantType.QInt8,
                calibrate_method=methods[job.calibration_method], **common,
            )  # fmt: skip
        except Exception as error:  # of any kind: it is one of many passes over the graph that gives up
            raise _gave_up(job.method, error) from error
    return notes


def _prepared(model: Any, folder: Path, apart: bool, job: jobs.Quantize) -> Path:
    """The model with its shapes known and its constants folded, of an opset that has what quantization needs."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    old, plain, prepared = graphs.opset(model), folder / "model.onnx", folder / "prepared.onnx"
    if old < _OPSET:
        try:
            model = onnx.version_converter.convert_version(model, _OPSET)
        except Exception as error:  # the converter's own, without a common base
            message = (
                f"The model is of opset {old}, quantization needs {_OPSET}, and it cannot be converted: {error}. "
                "Export it anew with a higher opset."
            )
            raise _problem("model", "old_opset", message) from error
    graphs.write(model, plain, apart=apart)
    try:
        quant_pre_process(
            str(plain), str(prepared), skip_symbolic_shape=not _has_sympy(), save_as_external_data=apart,
            all_tensors_to_one_file=True, external_data_location="prepared.onnx.data" if apart else None,
            # Nodes are excluded by the names that they have in the model.
            skip_optimization=bool(job.exclude),
        )  # fmt: skip
    except Exception:  # symbolic shape inference knows not every operator; ONNX's own goes without
        quant_pre_process(
            str(plain), str(prepared), skip_symbolic_shape=True, skip_optimization=True, save_as_external_data=apart,
            all_tensors_to_one_file=True, external_data_location="prepared.onnx.data" if apart else None,
        )  # fmt: skip
    _flatten_biases(prepared)
    return prepared


def _flatten_biases(path: Path) -> None:
    """As [n] those of Gemm that are [1, n], as the optimizer leaves them where it makes a Gemm of MatMul and Add:
    quantization by channel (ONNX Runtime 1.31) takes no others."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    users: dict[str, set[tuple[str, int]]] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            users.setdefault(name, set()).add((node.op_type, place))
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2 and tensor.dims[0] == 1 and users.get(tensor.name) == {("Gemm", 2)}:
            tensor.dims[:] = tensor.dims[1:]
    onnx.save(model, str(path))


def _has_sympy() -> bool:
    from importlib.util import find_spec

    return find_spec("sympy") is not None


def _multiplies_in_8_bits() -> bool:
    """Whether this processor adds up 8-bit products without loss: VNNI, or no x86 at all."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags


class _Reader:
    """Gives ONNX Runtime the calls to calibrate on, one by one."""

    def __init__(self, calls: list[data.Call]) -> None:
        self._calls: Iterator[data.Call] = iter(calls)

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> dict[str, Array]:
        return dict(next(self._calls).inputs)

    def get_next(self) -> dict[str, Array] | None:
        call = next(self._calls, None)
        return None if call is None else dict(call.inputs)


def _kept_in_int8(path: Path) -> tuple[Counter[str], list[str]]:
    """What of the new model computes with 8 bits, by operator; and which nodes with constant weights do not."""
    model = graphs.read(path)
    weights, bytes_ = graphs.weights(model.graph), graphs.weights(model.graph, graphs.UINT8, graphs.INT8)
    dequantized = {name for n in model.graph.node if n.op_type == "DequantizeLinear" for name in n.output}
    found, skipped = Counter[str](), []
    for node in graphs.nodes(model.graph):
        if node.op_type in _QUANTIZED - {"QuantizeLinear"}:
            found[node.op_type] += 1
        elif node.op_type in {*_DYNAMIC, *_STATIC}:
            # The third is a bias, which stays in 32 bits.
            constant = set(node.input[:2]) & weights
            is_looked_up = node.op_type == "Gather" and set(node.input[:1]) & bytes_
            if is_looked_up or (not constant and set(node.input) & dequantized):
                found[node.op_type] += 1
            elif constant and node.op_type != "Gather":
                skipped.append(f"{node.op_type} {node.name or node.output[0]}")
    return found, skipped


# ------------------------------------------------------------------------------------------- fp16


def _to_fp16(model: Any, source: Path, to: Path, job: jobs.Quantize) -> None:
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    apart = graphs.is_apart(source)
    try:
        # What has no 16-bit form stays as it is, between casts; so do the inputs and outputs, for their callers' sake.
        # Shapes of what goes into no message are found by way of the file.
        made = ONNXModel(
            convert_float_to_float16(
                str(source) if apart else _copy(model), keep_io_types=True, node_block_list=list(job.exclude)
            )
        )
        made.topological_sort()
        graphs.write(made.model, to, apart=apart)
    except Exception as error:
        raise _gave_up(job.method, error) from error


def _copy(model: Any) -> Any:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def _kept_in_fp16(model: Any, made: Any) -> tuple[Counter[str], list[str]]:
    """Which nodes compute with 16-bit weights, by operator; and which with weights that stayed in 32."""
    halves = graphs.weights(made.graph, graphs.HALF)
    wholes = graphs.weights(model.graph, graphs.FLOAT) - halves
    found, skipped = Counter[str](), []
    for node in graphs.nodes(made.graph):
        if set(node.input) & halves:
            found[node.op_type] += 1
        elif set(node.input) & wholes:
            skipped.append(f"{node.op_type} {node.name or node.output[0]}")
    return found, skipped


def _gave_up(method: Method, error: Exception) -> InvalidRequest:
    what = f"{type(error).__name__}: {error}".strip().splitlines()[0][:500]
    return _problem("model", "quantization_failed", f"ONNX Runtime could not make {method} of the model: {what}")


def _problem(path: str, code: str, message: str) -> InvalidRequest:
    return InvalidRequest([Problem(path, code, message)])
