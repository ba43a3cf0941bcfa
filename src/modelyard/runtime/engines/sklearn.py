"""The ``sklearn`` engine: scikit-learn estimators, saved by skops; pickles only when trusted.

A skops file names each type that it needs, and only known ones are made; a pickle (joblib's too) runs
whatever code it holds. So a pickle, whatever its suffix, and a skops file with unknown types are refused
unless an administrator has marked the model as trusted.

Signature: ``input`` FP64 [-1, n_features]; ``label`` (classifiers) or ``prediction`` (all others), and
``probabilities`` where the estimator has them, columns in the order of its ``classes_``.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelyard.domain.spec import PICKLE_SUFFIXES
from modelyard.runtime.engines.base import Batching, Inputs, LoadOptions, Outputs, SyncModel, source_file
from modelyard.runtime.errors import LoadFailure, RequestError, is_out_of_memory
from modelyard.runtime.signature import Signature, TensorSpec, datatype_of

INPUT: Final = "input"
PROBABILITIES: Final = "probabilities"
SKOPS_SUFFIX: Final = ".skops"
# Pickles of protocol 2 and up; what joblib compresses with (zlib, gzip, bzip2, xz, lz4).
_PICKLE_MAGIC: Final = (b"\x80", b"\x78", b"\x1f\x8b", b"BZ", b"\xfd7zXZ", b"\x04\x22\x4d\x18")
_REASON: Final = (
    "A pickle or joblib file runs whatever code it holds when it is loaded. Save the model with skops.io.dump "
    "instead, or have an administrator set 'trusted: true'."
)


def load(options: LoadOptions) -> SyncModel:
    estimator, suffix = load_estimator(options)
    return SklearnModel(estimator, suffix, options.threads)


def load_estimator(options: LoadOptions) -> tuple[Any, str]:
    """The estimator in the file, which predicts and may be loaded; and the file's suffix.

    Raises:
        LoadFailure: (``untrusted_pickle``, ``untrusted_types``, ``corrupt_file``, ``missing_module``,
            ``invalid_model``, and those of :func:`modelyard.runtime.engines.base.source_file`)
    """
    path = source_file(options, (SKOPS_SUFFIX, *PICKLE_SUFFIXES), "sklearn")
    estimator = _load_skops(path, options) if path.suffix.lower() == SKOPS_SUFFIX else _load_pickle(path, options)
    if not hasattr(estimator, "predict"):
        raise LoadFailure("invalid_model", f"{path} holds a {type(estimator).__name__}, which has no predict().")
    return estimator, path.suffix.lower()


def _load_skops(path: Path, options: LoadOptions) -> Any:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(8).startswith(_PICKLE_MAGIC):
                raise LoadFailure("untrusted_pickle", f"{path} is a pickle under the suffix {path.suffix}. {_REASON}")
        raise LoadFailure("corrupt_file", f"{path} is not a skops file.")
    import skops.io

    try:
        unknown = skops.io.get_untrusted_types(file=path)
        if unknown and not options.trusted:
            raise LoadFailure(
                "untrusted_types",
                f"{path} needs types that are not known to be safe: {', '.join(unknown)}. Have an administrator look "
                "at them and set 'trusted: true'.",
            )
        return skops.io.load(path, trusted=unknown)
    except LoadFailure:
        raise
    except Exception as error:  # a damaged archive fails in as many ways as it has parts
        raise _unloadable(path, "skops file", error) from error


def _load_pickle(path: Path, options: LoadOptions) -> Any:
    if not options.trusted:
        raise LoadFailure("untrusted_pickle", f"{path} is refused. {_REASON}")
    import joblib

    try:
        return joblib.load(path)  # reads plain pickles too
    except Exception as error:
        raise _unloadable(path, "pickle", error) from error


def _unloadable(path: Path, kind: str, error: Exception) -> Exception:
    if is_out_of_memory(error):
        return error
    if isinstance(error, ModuleNotFoundError):
        return LoadFailure("missing_module", f"{path} needs the module {error.name!r}, which is not installed.")
    return LoadFailure("corrupt_file", f"{path} cannot be loaded as a {kind}: {type(error).__name__}: {error}")


class SklearnModel(SyncModel):
    may_use_loop = True
    may_batch = True

    def __init__(self, estimator: Any, suffix: str, threads: int) -> None:
        platform = "sklearn_skops" if suffix == SKOPS_SUFFIX else "sklearn_pickle"
        self._estimator = estimator
        self._prediction = "label" if hasattr(estimator, "classes_") else "prediction"
        # Of several targets at once scikit-learn answers with a list of matrices: no tensor.
        self._has_probabilities = hasattr(estimator, "predict_proba") and not isinstance(
            getattr(estimator, "classes_", None), list
        )
        # Tensors have no column names; that the estimator was fitted with some is no news on every request.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        super().__init__(platform, self._signature(), threads)

    def _signature(self) -> Signature:
        features = getattr(self._estimator, "n_features_in_", None)
        inputs = (TensorSpec(INPUT, "FP64", (-1, features if features is not None else -1)),)
        if features is None:
            return Signature(inputs)
        # What comes out, and of which type, only the estimator itself knows: ask it.
        try:
            answer = self.predict({INPUT: np.zeros((1, features))}, None, {})
        except (RequestError, TypeError, AttributeError):
            return Signature(inputs)
        return Signature(
            inputs,
            tuple(
                TensorSpec(name, datatype_of(array) or "FP64", (-1, *array.shape[1:])) for name, array in answer.items()
            ),
        )

    def rows_together(self, wanted: Batching) -> int:
        # Estimators predict row by row by scikit-learn's own definition of predict; of others only their owner knows.
        return wanted.max_rows if wanted.chosen or _is_scikit_learns(self._estimator) else 0

    def predict(self, inputs: Inputs, outputs: tuple[str, ...] | None, parameters: dict[str, Any]) -> Outputs:
        rows = inputs[INPUT]
        answer = {}
        try:
            if outputs is None or self._prediction in outputs:
                answer[self._prediction] = np.asarray(self._estimator.predict(rows))
            if self._has_probabilities and (outputs is None or PROBABILITIES in outputs):
                answer[PROBABILITIES] = np.asarray(self._estimator.predict_proba(rows))
        except ValueError as error:
            # scikit-learn's word for data it will not take: a NaN, no rows at all.
            raise RequestError(422, "input_refused", f"The model refuses these inputs: {error}") from error
        return answer


def _is_scikit_learns(estimator: Any) -> bool:
    """Whether it, and all that it is made of, is scikit-learn's own, without any function of somebody else's."""
    if not hasattr(estimator, "get_params") or not _is_own(type(estimator)):
        return False
    parameters = estimator.get_params(deep=False)
    # A FunctionTransformer's function sees all rows, whoever has written it.
    return parameters.get("func") is None and all(map(_is_known, parameters.values()))


def _is_known(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_known, value))
    if isinstance(value, dict):
        return all(map(_is_known, value.values()))
    if isinstance(value, type):
        return True
    if hasattr(value, "get_params"):
        return _is_scikit_learns(value)
    return not callable(value) or _is_own(value if hasattr(value, "__name__") else type(value))


def _is_own(made: Any) -> bool:
    return str(getattr(made, "__module__", "")).partition(".")[0] == "sklearn"
