"""Rows from files: what fits a model is read as it takes it, what does not is said, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.errors import InvalidRequest
from modelyard.optimization import data
from modelyard.runtime.signature import Signature, TensorSpec

ONE = Signature((TensorSpec("x", "FP32", (-1, 3)),), (TensorSpec("y", "FP32", (-1, 2)),))
TWO = Signature((TensorSpec("a", "INT32", (-1,)), TensorSpec("b", "BYTES", (-1, 1))), (TensorSpec("y", "FP32", (-1,)),))


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def problems(path: Path, signature: Signature = ONE, **more: Any) -> set[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as refused:
        data.read(path, signature, "calibration", **more)
    return {(problem.path, problem.code) for problem in refused.value.problems}


def test_rows_are_read_in_the_type_that_the_model_takes_and_labels_apart_from_them(tmp_path: Path) -> None:
    path = npz(tmp_path / "rows.npz", x=np.ones((5, 3), np.float64), labels=np.arange(5))
    (call,) = data.read(path, ONE, "evaluation")
    assert (call.rows, call.inputs["x"].dtype) == (5, np.float32)
    assert call.labels is not None
    assert list(call.labels) == [0, 1, 2, 3, 4]
    (call,) = data.read(npz(tmp_path / "two.npz", a=[1, 2], b=[["é"], ["b"]], other=[1, 0]), TWO, "x", labels="other")
    assert call.inputs["a"].dtype == np.int32
    assert call.inputs["b"].tolist() == [["é".encode()], [b"b"]]


def test_all_that_does_not_fit_the_signature_is_said_at_once(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", a=np.array([0.5, 1.0]), c=np.ones(2))
    assert problems(path, TWO) == {
        ("calibration.a", "wrong_type"), ("calibration.b", "missing_input"), ("calibration.c", "unknown_input"),
    }  # fmt: skip
    assert problems(npz(tmp_path / "b.npz", x=np.ones((5, 4)))) == {("calibration.x", "wrong_shape")}
    assert problems(npz(tmp_path / "c.npz", x=np.ones(3))) == {("calibration.x", "wrong_shape")}
    assert problems(npz(tmp_path / "d.npz", x=np.full((1, 3), np.nan))) == {("calibration.x", "not_finite")}
    assert problems(npz(tmp_path / "e.npz", x=np.full((1, 3), 1e300))) == {("calibration.x", "not_finite")}
    assert problems(npz(tmp_path / "f.npz", x=np.ones((0, 3)))) == {("calibration", "wrong_length")}
    assert problems(npz(tmp_path / "g.npz", x=np.ones((3, 3)), y=[1])) == {("calibration", "wrong_length")}
    assert problems(tmp_path / "g.npz", labels="truth") == {("calibration.truth", "missing_labels")}


def test_files_that_are_no_rows_are_told_from_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK\3\4 no archive")
    assert problems(tmp_path / "broken.npz") == {("calibration", "unreadable")}
    objects = npz(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    assert problems(objects) == {("calibration", "unreadable")}, "an array of objects is a pickle"
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    assert problems(tmp_path / "rows.parquet") == {("calibration", "unknown_format")}
    assert problems(tmp_path / "none.npz") == {("calibration", "not_found")}
    assert problems(tmp_path / ".") == {("calibration[broken.npz]", "unreadable")}


def test_the_columns_of_a_table_are_one_inputs_or_an_input_each(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("first,second,third,label\n1,2,3,0\n4,5.5,6,1\n")
    (call,) = data.read(tmp_path / "rows.csv", ONE, "evaluation")
    assert call.inputs["x"].tolist() == [[1, 2, 3], [4, 5.5, 6]]
    assert call.labels is not None
    assert call.labels.tolist() == [0, 1]
    (tmp_path / "plain.csv").write_text("1,2,3\n")
    assert data.read(tmp_path / "plain.csv", ONE, "x")[0].inputs["x"].tolist() == [[1, 2, 3]]
    (tmp_path / "named.csv").write_text("b,a\nhot,1\ncold,2\n")
    (call,) = data.read(tmp_path / "named.csv", TWO, "x")
    assert (call.inputs["a"].tolist(), call.inputs["b"].tolist()) == ([1, 2], [[b"hot"], [b"cold"]])
    (tmp_path / "ragged.csv").write_text("1,2,3\n1,2\n")
    assert problems(tmp_path / "ragged.csv") == {("calibration", "ragged")}
    (tmp_path / "text.csv").write_text("p,q,r\n1,2,hot\n")
    assert problems(tmp_path / "text.csv") == {("calibration.r", "wrong_type")}


def test_a_folder_of_files_gives_a_call_each(tmp_path: Path) -> None:
    for name, rows in (("b", 2), ("a", 3)):
        npz(tmp_path / f"{name}.npz", x=np.ones((rows, 3)))
    assert [call.rows for call in data.read(tmp_path, ONE, "calibration")] == [3, 2]


def test_a_model_of_fixed_rows_gets_so_many_at_a_time(tmp_path: Path) -> None:
    fixed = Signature((TensorSpec("x", "FP32", (4, 3)),), (TensorSpec("y", "FP32", (4, 2)),))
    calls = data.read(npz(tmp_path / "rows.npz", x=np.arange(24).reshape(8, 3)), fixed, "calibration")
    assert [call.rows for call in data.cut(calls, fixed, 100)] == [4, 4]
    assert problems(npz(tmp_path / "odd.npz", x=np.ones((6, 3))), fixed) == {("calibration", "wrong_length")}
    assert data.resized(calls[0], fixed, 1).rows == 4
    whole = Signature((TensorSpec("x", "FP32", (3,)), TensorSpec("z", "FP32", (2,))), ())
    (call,) = data.read(npz(tmp_path / "whole.npz", x=np.ones(3), z=np.ones(2)), whole, "calibration")
    assert next(data.cut([call], whole, 1)) is call
    silent = Signature(ONE.inputs, (TensorSpec("y", "FP32", ()),))
    assert data.fixed_rows(silent) == -1, "an output of which nothing is known says nothing"


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 50))
def test_cutting_keeps_every_row_and_its_label_in_order(sizes: list[int], rows: int) -> None:
    calls = [data.Call({"x": np.full((n, 3), i, np.float32)}, n, np.full(n, i)) for i, n in enumerate(sizes)]
    pieces = list(data.cut(calls, ONE, rows))
    assert max(piece.rows for piece in pieces) <= rows
    together = np.concatenate([piece.inputs["x"][:, 0] for piece in pieces])
    assert together.tolist() == [i for i, n in enumerate(sizes) for _ in range(n)]
    assert np.concatenate([piece.labels for piece in pieces if piece.labels is not None]).tolist() == together.tolist()


@given(st.integers(0, 5))
def test_random_rows_fit_the_signature_and_are_the_same_each_time(seed: int) -> None:
    one, again = (data.made_up(TWO, 7, seed) for _ in range(2))
    assert {name: array.shape for name, array in one.inputs.items()} == {"a": (7,), "b": (7, 1)}
    assert all((one.inputs[name] == again.inputs[name]).all() for name in one.inputs)
    assert data.resized(one, TWO, 20).inputs["a"].shape == (20,)
