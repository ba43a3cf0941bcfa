"""Estimators as ONNX: under the same names, with the same answers, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import NearestCentroid
from threadpoolctl import threadpool_limits

from modelyard.domain.errors import InvalidRequest
from modelyard.optimization import measuring
from modelyard.optimization.converting import convert
from modelyard.optimization.jobs import Convert, Converted, Rows
from modelyard.runtime.engines.sklearn import SklearnModel
from modelyard.runtime.errors import LoadFailure
from tests.optimization import making


def saved(estimator: Any, path: Path) -> Path:
    skops.io.dump(estimator, path) if path.suffix == ".skops" else joblib.dump(estimator, path)
    return path


def converted(source: Path, **more: Any) -> Converted:
    job = Convert(source=str(source), to=str(source.with_suffix(".onnx")), seconds=0.05, **more)
    # As in the job's own process.
    with threadpool_limits(1):
        return convert(job, lambda words: None)


@pytest.mark.parametrize("kind", ["logistic", "mlp", "boosting", "histograms", "forest"])
def test_both_answer_alike_under_the_same_names(tmp_path: Path, kind: str) -> None:
    estimator = making.trained(kind)
    done = converted(
        saved(estimator, tmp_path / "model.joblib"), trusted=True,
        data=str(making.rows_in(tmp_path / "rows.npz")),
    )  # fmt: skip
    assert (done.rows, done.of, done.agreement in (None, 1.0)) == (256, Rows.EVALUATION, True)
    assert done.difference < 1e-4
    assert set(done.latency) == set(done.latency_before) == {1, 32}
    onnx_model = measuring.load(tmp_path / "model.onnx", "onnx")
    original = SklearnModel(estimator, ".skops", 1)
    assert [spec.name for spec in onnx_model.signature.inputs or ()] == ["input"]
    assert [s.name for s in onnx_model.signature.outputs or ()] == [s.name for s in original.signature.outputs or ()]


def test_without_rows_both_are_compared_on_random_ones(tmp_path: Path) -> None:
    done = converted(saved(making.trained("logistic"), tmp_path / "model.skops"))
    assert (done.of, done.rows, done.agreement) == (Rows.RANDOM, 512, 1.0)


def test_labels_of_any_type_and_several_targets_are_compared(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((60, 4))
    truth = rows[:, 0] > 0
    for name, labels in (("truth", truth), ("text", np.where(truth, "hot", "cold")), ("float", truth * 2.0)):
        assert converted(saved(LogisticRegression().fit(rows, labels), tmp_path / f"{name}.skops")).agreement == 1.0
    several = MultiOutputClassifier(LogisticRegression()).fit(rows, np.c_[truth, ~truth].astype(int))
    assert converted(saved(several, tmp_path / "several.joblib"), trusted=True).agreement == 1.0
    outliers = IsolationForest(n_estimators=5, random_state=0).fit(rows)
    assert converted(saved(outliers, tmp_path / "outliers.joblib"), trusted=True).agreement == 1.0


def test_a_pickle_is_loaded_only_by_those_who_trust_it(tmp_path: Path) -> None:
    with pytest.raises(LoadFailure) as refused:
        converted(saved(making.trained("logistic"), tmp_path / "model.joblib"))
    assert refused.value.code == "untrusted_pickle"
    with pytest.raises(LoadFailure) as refused:
        converted(saved(making.trained("mlp"), tmp_path / "model.skops"))
    assert refused.value.code == "untrusted_types"


def problem(source: Path, **more: Any) -> tuple[str, str]:
    with pytest.raises(InvalidRequest) as refused:
        converted(source, **more)
    return refused.value.problems[0].code, refused.value.problems[0].message


def test_what_does_not_agree_is_refused(tmp_path: Path) -> None:
    code, message = problem(saved(making.trained("logistic"), tmp_path / "model.skops"), tolerance=0.0)
    assert (code, "numbers differ by up to" in message) == ("not_equal", True)


def test_what_has_no_converter_or_no_columns_says_so(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((20, 3))
    source = saved(NearestCentroid().fit(rows, np.arange(20) % 2), tmp_path / "model.joblib")
    code, message = problem(source, trusted=True)
    assert (code, "cannot convert this NearestCentroid" in message) == ("not_convertible", True)
    logistic = saved(making.trained("logistic"), tmp_path / "logistic.skops")
    assert problem(logistic, features=3)[0] == "wrong_number"
    np.savez(tmp_path / "rows.npz", input=np.ones((3, 5)))
    assert problem(logistic, data=str(tmp_path / "rows.npz"))[0] == "wrong_shape"
