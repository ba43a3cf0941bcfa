"""What is lost is measured in the unit that the answers and the labels call for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.domain.errors import InvalidRequest
from modelyard.optimization.jobs import Metric
from modelyard.optimization.scoring import score

Array = np.ndarray[Any, Any]

matrices = arrays.arrays(np.float32, (6, 4), elements=st.floats(-1e6, 1e6, width=32))


def ranks(*classes: int) -> Array:
    return np.eye(4, dtype=np.float32)[list(classes)]


def test_with_labels_accuracy_is_compared_in_two_calls_as_in_one() -> None:
    before = [{"label": np.array([1, 2]), "p": ranks(1, 2)}, {"label": np.array([3]), "p": ranks(3)}]
    after = [{"label": np.array([1, 0]), "p": ranks(1, 0)}, {"label": np.array([3]), "p": ranks(3)}]
    found = score(before, after, [np.array([1, 2]), np.array([3])])
    assert (found.metric, found.before, found.rows) == (Metric.ACCURACY, 1.0, 3)
    assert found.drop == pytest.approx(1 / 3)
    ranked = score([{"p": ranks(1, 2)}], [{"p": ranks(1, 0)}], [np.array([1.0, 2.0])])
    assert (ranked.metric, ranked.after) == (Metric.ACCURACY, 0.5), "labels of a table may be whole floats"


def test_a_drop_to_the_limit_is_not_past_it_for_rounding() -> None:
    before, after = np.zeros(100, np.int64), np.zeros(100, np.int64)
    before[:2], after[:3] = 1, 1
    assert 0.98 - 0.97 > 0.01
    assert score([{"y": before}], [{"y": after}], [np.zeros(100, np.int64)]).drop <= 0.01


def test_text_is_compared_with_text() -> None:
    answers = [{"label": np.array([b"hot", b"cold"], dtype=object)}]
    assert score(answers, answers, [np.array(["hot", "warm"])]).before == 0.5
    with pytest.raises(InvalidRequest, match="classes are text, the labels are numbers"):
        score(answers, answers, [np.array([1, 2])])


def test_numbers_are_compared_by_how_much_their_error_grows() -> None:
    truth = [np.array([1.5, 2.5, 3.5])]
    found = score([{"y": np.array([[2.5], [3.5], [4.5]])}], [{"y": np.array([[2.6], [3.6], [4.6]])}], truth)
    assert (found.metric, found.before) == (Metric.RMSE, 1.0)
    assert found.drop == pytest.approx(0.1)
    found = score([{"y": np.zeros(3)}], [{"y": np.ones(3)}], truth, metric=Metric.MAE)
    assert (found.before, found.after, found.drop < 0) == (2.5, 1.5, True)


def test_without_labels_the_original_is_the_measure() -> None:
    found = score([{"p": ranks(0, 1, 2, 3)}], [{"p": ranks(0, 1, 2, 0)}], None)
    assert (found.metric, found.after, found.drop) == (Metric.AGREEMENT, 0.75, 0.25)
    found = score([{"y": np.ones((3, 1))}], [{"y": np.ones((3, 1)) * 2}], None)
    assert (found.metric, found.drop) == (Metric.COSINE, 0.0), "a single number has one direction"
    with pytest.raises(InvalidRequest, match="needs labels"):
        score([{"p": ranks(0)}], [{"p": ranks(0)}], None, metric=Metric.ACCURACY)


def test_answers_that_overflow_have_nothing_in_common_with_those_that_do_not() -> None:
    good, bad = np.ones((2, 4)), np.array([[np.inf, 1, 1, 1], [1, 1, 1, 1]])
    assert score([{"y": good}], [{"y": bad}], None, metric=Metric.COSINE).after == pytest.approx(0.5)
    with pytest.raises(InvalidRequest, match="original model itself"):
        score([{"y": bad}], [{"y": good}], None, metric=Metric.COSINE)


def test_an_output_that_is_named_must_be_there_and_go_with_the_metric() -> None:
    answers = [{"y": np.ones((2, 1))}]
    with pytest.raises(InvalidRequest, match="no output 'z', but y"):
        score(answers, answers, None, answer="z")
    with pytest.raises(InvalidRequest, match="names a class"):
        score(answers, answers, [np.array([0, 1])], metric=Metric.ACCURACY)
    with pytest.raises(InvalidRequest, match="3 labels"):
        score([{"p": ranks(0, 1)}], [{"p": ranks(0, 1)}], [np.array([0, 1, 2])], metric=Metric.ACCURACY)


@given(matrices, st.sampled_from([Metric.COSINE, Metric.AGREEMENT]))
def test_a_model_loses_nothing_beside_itself(answers: Array, metric: Metric) -> None:
    assert score([{"y": answers}], [{"y": answers.copy()}], None, metric=metric).drop == pytest.approx(0, abs=1e-9)


@given(matrices, matrices)
def test_a_share_or_a_similarity_lies_in_its_bounds_whatever_is_compared(one: Array, other: Array) -> None:
    assert -1 <= score([{"y": one}], [{"y": other}], None, metric=Metric.COSINE).after <= 1
    assert 0 <= score([{"y": one}], [{"y": other}], None).after <= 1
