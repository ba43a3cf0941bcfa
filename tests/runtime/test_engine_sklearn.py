"""The sklearn engine: skops files, and the pickles it refuses."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, scale

from modelyard.runtime import engines, v2
from modelyard.runtime.engines.base import Batching, LoadOptions, SyncModel
from modelyard.runtime.engines.sklearn import SklearnModel
from modelyard.runtime.errors import LoadFailure, RequestError
from modelyard.runtime.signature import TensorSpec

RNG = np.random.default_rng(0)
X = RNG.random((40, 3))


@pytest.fixture(autouse=True)
def keep_filters() -> Iterator[None]:
    with warnings.catch_warnings():
        yield


def load(path: Path, *, trusted: bool = False) -> SyncModel:
    model = engines.load("sklearn", LoadOptions(path, trusted=trusted))
    assert isinstance(model, SyncModel)
    return model


def failure(path: Path, *, trusted: bool = False) -> LoadFailure:
    with pytest.raises(LoadFailure) as caught:
        load(path, trusted=trusted)
    assert caught.value.permanent
    return caught.value


def test_wine_is_told_by_its_name(demo: Path) -> None:
    model = load(demo / "wine" / "model.skops")
    assert model.signature.inputs == (TensorSpec("input", "FP64", (-1, 13)),)
    assert model.signature.outputs == (
        TensorSpec("label", "BYTES", (-1,)),
        TensorSpec("probabilities", "FP64", (-1, 3)),
    )
    request = v2.decode((demo / "wine" / "sample.json").read_bytes(), None, model.signature)
    encoded = v2.encode(request, model.predict(request.inputs, None, {}), "wine", "1")
    label, probabilities = json.loads(encoded.body)["outputs"]
    assert label["data"] == [json.loads((demo / "wine" / "about.json").read_text())["sample_answer"]]
    assert sum(probabilities["data"]) == pytest.approx(1)


def test_estimators_other_than_classifiers_give_a_prediction(home: Path) -> None:
    skops.io.dump(LinearRegression().fit(X, X[:, :2]), home / "line.skops")
    model = load(home / "line.skops")
    assert model.signature.outputs == (TensorSpec("prediction", "FP64", (-1, 2)),)
    skops.io.dump(KMeans(2, n_init=1, random_state=0).fit(X), home / "cluster.skops")
    assert load(home / "cluster.skops").signature.outputs == (TensorSpec("prediction", "INT32", (-1,)),)


def test_only_the_outputs_asked_for_are_computed(home: Path) -> None:
    skops.io.dump(LogisticRegression().fit(X, X[:, 0] > 0.5), home / "model.skops")
    model = load(home / "model.skops")
    assert list(model.predict({"input": X}, ("probabilities",), {})) == ["probabilities"]
    assert list(model.predict({"input": X}, ("label",), {})) == ["label"]


class Centering(BaseEstimator, TransformerMixin):
    """Of somebody's own; looks at all rows."""

    def fit(self, x: Any, y: Any = None) -> Any:
        self.fitted_ = True
        return self

    def transform(self, x: Any) -> Any:
        return x - x.mean(axis=0)


@pytest.mark.parametrize(
    ("first", "rows"),
    [
        (StandardScaler(), 64),
        (SelectKBest(f_regression, k=2), 64),
        (OneHotEncoder(dtype=np.float32, handle_unknown="ignore"), 64),
        (FunctionTransformer(), 64),
        (Centering(), 0),
        (FunctionTransformer(np.linalg.norm), 0),
        (FunctionTransformer(scale), 0),
        (ColumnTransformer([("all", make_pipeline(Centering()), [0, 1, 2])]), 0),
    ],
)
def test_only_what_is_known_to_predict_row_by_row_is_given_rows_of_several_requests(first: Any, rows: int) -> None:
    model = SklearnModel(make_pipeline(first, LinearRegression()), ".skops", 1)
    assert model.rows_together(Batching()) == rows
    assert model.rows_together(Batching(max_rows=8, chosen=True)) == 8


def test_data_that_the_estimator_refuses_is_the_requests_fault(home: Path) -> None:
    skops.io.dump(LinearRegression().fit(X, X[:, 0]), home / "model.skops")
    with pytest.raises(RequestError, match="NaN") as caught:
        load(home / "model.skops").predict({"input": np.full((1, 3), np.nan)}, None, {})
    assert (caught.value.status, caught.value.code) == (422, "input_refused")


class Trap:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".joblib", ".PKL", ".skops"])
@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump, lambda value, file: joblib.dump(value, file, compress=3)])
def test_pickles_are_refused_unopened_under_any_suffix(home: Path, suffix: str, dump: Any) -> None:
    with (home / f"model{suffix}").open("wb") as file:
        dump(Trap(home / "trace"), file)
    reason = failure(home / f"model{suffix}")
    assert reason.code == "untrusted_pickle"
    assert "skops.io.dump" in reason.message
    assert not (home / "trace").exists()


@pytest.mark.parametrize("suffix", [".pkl", ".joblib"])
def test_trusted_pickles_are_loaded(home: Path, suffix: str) -> None:
    joblib.dump(LinearRegression().fit(X, X[:, 0]), home / f"model{suffix}")
    model = load(home / f"model{suffix}", trusted=True)
    assert model.platform == "sklearn_pickle"
    assert model.predict({"input": X}, None, {})["prediction"].shape == (40,)


def test_unknown_types_in_a_skops_file_are_refused_by_name_unless_trusted(home: Path) -> None:
    pipeline = make_pipeline(FunctionTransformer(np.linalg.norm), LinearRegression())
    pipeline.set_params(functiontransformer__func=json.dumps)
    pipeline.steps[1][1].fit(X, X[:, 0])
    skops.io.dump(pipeline, home / "model.skops")
    reason = failure(home / "model.skops")
    assert (reason.code, "json.dumps" in reason.message) == ("untrusted_types", True)
    assert load(home / "model.skops", trusted=True).platform == "sklearn_skops"


def test_files_that_are_no_model_say_what_they_are(home: Path, demo: Path) -> None:
    whole = (demo / "wine" / "model.skops").read_bytes()
    (home / "cut.skops").write_bytes(whole[:-300])
    (home / "holed.skops").write_bytes(whole[:3000] + bytes(500) + whole[3500:])
    (home / "noise.skops").write_bytes(b"this is no model at all")
    (home / "noise.pkl").write_bytes(b"this is no model at all")
    for name in ("cut.skops", "holed.skops", "noise.skops"):
        assert failure(home / name).code == "corrupt_file"
    assert failure(home / "noise.pkl", trusted=True).code == "corrupt_file"
    skops.io.dump(StandardScaler().fit(X), home / "scaler.skops")
    assert failure(home / "scaler.skops").code == "invalid_model"
    skops.io.dump([1, 2], home / "list.skops")
    assert failure(home / "list.skops").code == "invalid_model"
