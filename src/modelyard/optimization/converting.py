"""A scikit-learn estimator as an ONNX model that takes and gives the same under the same names, compared with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.optimization import data, graphs, jobs, measuring
from modelyard.optimization.jobs import Rows
from modelyard.runtime.engines.base import LoadOptions
from modelyard.runtime.engines.sklearn import INPUT, PROBABILITIES, SklearnModel, load_estimator
from modelyard.runtime.signature import Array, Signature, TensorSpec

# So many made-up rows, and how far their columns reach: what an estimator was fitted on is not known.
_ROWS: Final = 512
_SCALES: Final = (0.1, 1.0, 10.0, 100.0)
# Rows of a call whose latencies are compared.
_SIZES: Final = (1, 32)
# So many rows of a thousand may get another label: on the border between two classes, rounding decides.
_AGREEMENT: Final = 0.999


def convert(job: jobs.Convert, tell: Callable[[str], None]) -> jobs.Converted:
    """Write the estimator in ``job.source`` to ``job.to`` as ONNX.

    Raises:
        InvalidRequest: it cannot be converted, or the two do not agree
        LoadFailure, RequestError: it does not load, or does not take the data
    """
    source, to = Path(job.source), Path(job.to)
    with warnings.catch_warnings():
        # Of another version of scikit-learn than the one that saved it: what counts is whether both agree.
        warnings.simplefilter("ignore")
        estimator, suffix = load_estimator(LoadOptions(source=source, trusted=job.trusted))
        features = _features(estimator, job.features)
        original = SklearnModel(estimator, suffix, 1)
        tell("Converting to ONNX")
        model = _converted(estimator, features)
        _rename(model, [spec.name for spec in original.signature.outputs or ()])
        graphs.write(model, to, apart=False)
        converted = measuring.load(to, "onnx")
        tell("Comparing both")
        signature = Signature((TensorSpec(INPUT, "FP32", (-1, features)),), converted.signature.outputs)
        calls, of = _calls(job, signature, features)
        befores = [original.predict({INPUT: np.asarray(call.inputs[INPUT], np.float64)}, None, {}) for call in calls]
        agreement, difference = _compared(befores, measuring.answers(converted, calls))
        rows = sum(call.rows for call in calls)
        _check(agreement, difference, rows, job)
        tell("Measuring both")
        latencies = {rows: _latencies(original, converted, calls[0], rows, job.seconds) for rows in _SIZES}
    return jobs.Converted(
        size_before=source.stat().st_size, size=to.stat().st_size, opset=graphs.opset(model), rows=rows, of=of,
        difference=difference, agreement=agreement,
        latency_before={rows: pair[0] for rows, pair in latencies.items()},
        latency={rows: pair[1] for rows, pair in latencies.items()},
    )  # fmt: skip


def _features(estimator: Any, given: int | None) -> int:
    known = getattr(estimator, "n_features_in_", None)
    if known is None and given is None:
        message = "The estimator does not say how many columns a row has: say it (--features N)."
        raise _problem("features", "required", message)
    if known is not None and given not in (None, known):
        raise _problem("features", "wrong_number", f"The estimator was fitted on {known} columns, not on {given}.")
    if by_name := _picks_by_name(estimator):
        message = (
            f"It picks columns by name ({', '.join(by_name[:5])}), and a tensor's have none: fit the ColumnTransformer "
            "with the columns' numbers."
        )
        raise _problem("model", "named_columns", message)
    return int(known if known is not None else given or 0)


def _picks_by_name(estimator: Any) -> list[str]:
    """The columns that a ColumnTransformer at its beginning names."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[0][1]
    columns = [column for _, _, column in getattr(estimator, "transformers_", ())]
    flat = [one for column in columns for one in ([column] if isinstance(column, str) else _iterable(column))]
    return [one for one in flat if isinstance(one, str)]


def _iterable(column: Any) -> Sequence[Any]:
    return list(column) if isinstance(column, (list, tuple, np.ndarray)) else []


# ------------------------------------------------------------------------------------------- converting


def _converted(estimator: Any, features: int) -> Any:
    from skl2onnx import get_latest_tested_opset_version, to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    # A matrix of probabilities, not a list of dicts.
    classifies = hasattr(estimator, "predict_proba")
    try:
        with _plain_attributes():
            model = to_onnx(
                estimator, name="model", initial_types=[(INPUT, FloatTensorType([None, features]))],
                options={"zipmap": False} if classifies else None,
                # Not all converters know the newer operators of trees.
                target_opset={"": get_latest_tested_opset_version(), "ai.onnx.ml": 3},
            )  # fmt: skip
    except Exception as error:  # each converter has errors of its own
        what = f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
        message = (
            f"skl2onnx cannot convert this {_called(estimator)} ({what}). Estimators with converters are listed at "
            "https://onnx.ai/sklearn-onnx/supported.html; the model can be served as it is, by the sklearn engine."
        )
        raise _problem("model", "not_convertible", message) from error
    # The converter lists them in the order of a set, which differs from run to run.
    opsets = sorted(model.opset_import, key=lambda opset: str(opset.domain))
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    return model


def _called(estimator: Any) -> str:
    inner = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return type(inner).__name__


@contextmanager
def _plain_attributes() -> Iterator[None]:
    """skl2onnx 1.20 writes the attributes of some trees as booleans and as numpy's numbers, which protobuf 7 refuses
    where it takes whole numbers (HistGradientBoosting…)."""
    from skl2onnx.common import _container

    theirs = _container.make_node

    def make_node(*arguments: Any, **attributes: Any) -> Any:
        return theirs(*arguments, **{key: _plain(value) for key, value in attributes.items()})

    _container.make_node = make_node
    try:
        yield
    finally:
        _container.make_node = theirs


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [int(one) if isinstance(one, (bool, np.bool_, np.integer)) else one for one in value]
    return int(value) if isinstance(value, (bool, np.bool_, np.integer)) else value


def _rename(model: Any, names: Sequence[str]) -> None:
    """Call the outputs what the sklearn engine calls them, so that callers need not know which of both serves."""
    # Of several targets at once there is a list of matrices, which no tensor is; the engine leaves it out too.
    tensors = [output for output in model.graph.output if output.type.HasField("tensor_type")]
    del model.graph.output[:]
    model.graph.output.extend(tensors)
    wanted = dict(zip([output.name for output in model.graph.output], names, strict=False))
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)} - wanted.keys()
    # What has the name by chance makes room.
    wanted |= {name: f"{name}_inner" for name in taken & set(wanted.values())}
    for node in model.graph.node:
        node.input[:] = [wanted.get(name, name) for name in node.input]
        node.output[:] = [wanted.get(name, name) for name in node.output]
    for output in model.graph.output:
        output.name = wanted.get(output.name, output.name)
    for tensor in model.graph.initializer:
        tensor.name = wanted.get(tensor.name, tensor.name)


# ------------------------------------------------------------------------------------------- comparing


def _calls(job: jobs.Convert, signature: Signature, features: int) -> tuple[list[data.Call], Rows]:
    if job.data is not None:
        return data.read(Path(job.data), signature, "data"), Rows.EVALUATION
    random = np.random.default_rng(job.seed)
    scales = np.repeat(_SCALES, _ROWS // len(_SCALES))[:, None]
    rows = (random.standard_normal((_ROWS, features)) * scales).astype(np.float32)
    # Half of what estimators are fitted on is not negative.
    rows[::2] = np.abs(rows[::2])
    return [data.Call({INPUT: rows}, _ROWS)], Rows.RANDOM


def _compared(befores: Sequence[Any], afters: Sequence[Any]) -> tuple[float | None, float]:
    agree: list[Array] = []
    difference = 0.0
    for before, after in zip(befores, afters, strict=True):
        for name, old in before.items():
            new = np.asarray(after[name])
            if name != PROBABILITIES and (name == "label" or old.dtype.kind not in "f"):
                agree.append(np.array([str(a) == str(b) for a, b in zip(_flat(old), _flat(new), strict=True)]))
                continue
            old = old.astype(np.float64)
            apart = np.abs(old - new.reshape(old.shape)) / np.maximum(1.0, np.abs(old))
            # No number is equal to what is none.
            difference = max(difference, float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0)))
    return (float(np.concatenate(agree).mean()) if agree else None), difference


def _flat(array: Array) -> list[Any]:
    values = [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]
    # scikit-learn has labels that are whole numbers as floats too, and ONNX true and false as 1 and 0.
    return [
        int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value
        for value in values
    ]


def _check(agreement: float | None, difference: float, rows: int, job: jobs.Convert) -> None:
    said = []
    if agreement is not None and agreement < _AGREEMENT:
        said.append(f"{round((1 - agreement) * rows)} of {rows} rows get another label")
    if difference > job.tolerance:
        said.append(f"numbers differ by up to {difference:.3g}, and {job.tolerance:g} is allowed")
    if said:
        hint = "Compare them on real rows (--data FILE), or allow more (--tolerance)." if job.data is None else (
            "ONNX computes in 32 bits: scale what the estimator is fitted on, or serve it as it is."
        )  # fmt: skip
        raise _problem("tolerance", "not_equal", f"ONNX and scikit-learn do not agree: {', and '.join(said)}. {hint}")


def _latencies(
    original: SklearnModel, converted: Any, call: data.Call, rows: int, seconds: float
) -> tuple[jobs.Latency, jobs.Latency]:
    single = data.resized(call, converted.signature, rows)
    double = data.Call({INPUT: np.asarray(single.inputs[INPUT], np.float64)}, single.rows)
    before, after = measuring.side_by_side([original, converted], [double, single], seconds / len(_SIZES))
    return before, after


def _problem(path: str, code: str, message: str) -> InvalidRequest:
    return InvalidRequest([Problem(path, code, message)])
