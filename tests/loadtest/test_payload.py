"""Bodies of V2 requests, read back by the runtime that has to understand them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from modelyard.loadtest.payload import BINARY_HEADER, Body, Tensor, Unfit, as_binary, as_json, made_up
from modelyard.runtime import v2
from modelyard.runtime.signature import DATATYPES, Signature, TensorSpec


def read(body: Body, inputs: list[Tensor]) -> v2.Request:
    signature = Signature(tuple(TensorSpec(name, datatype, tuple(shape)) for name, datatype, shape in inputs), None)
    length = body.headers.get(BINARY_HEADER)
    return v2.decode(body.content, int(length) if length else None, signature)


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("encode", [as_json, as_binary])
def test_made_up_requests_fit_the_model_and_are_the_same_for_the_same_seed(datatype: str, encode: Any) -> None:
    inputs = [Tensor("x", datatype, [-1, 3, -1]), Tensor("flag", "BOOL", [-1, 1])]
    body = encode(made_up(inputs, 4, seed=1))
    request = read(body, inputs)
    assert request.inputs["x"].shape == (4, 3, 16)
    assert request.inputs["flag"].shape == (4, 1)
    assert body == encode(made_up(inputs, 4, seed=1))
    assert body != encode(made_up(inputs, 4, seed=2))
    assert request.binary_default is (encode is as_binary)


def test_rows_are_for_inputs_that_leave_them_open() -> None:
    fixed = [Tensor("image", "FP32", [1, 3])]
    assert made_up(fixed, None, 0)["inputs"][0]["shape"] == [1, 3]
    assert made_up(fixed, 1, 0)["inputs"][0]["shape"] == [1, 3]
    with pytest.raises(Unfit, match="'image' is always of 1 rows: leave --rows out"):
        made_up(fixed, 32, 0)


def test_what_no_values_can_be_made_up_for_is_said() -> None:
    with pytest.raises(Unfit, match="does not say what its inputs are"):
        made_up([], None, 0)
    with pytest.raises(Unfit, match="'x' is of 'BF16'"):
        made_up([Tensor("x", "BF16", [1])], None, 0)


def test_a_request_that_was_brought_is_made_binary_with_all_that_it_says() -> None:
    brought = {
        "id": "7",
        "inputs": [
            {"name": "x", "datatype": "FP64", "shape": [2, 2], "data": [[1, 2.5], [3, 4]]},
            {"name": "word", "datatype": "BYTES", "shape": [1], "data": ["grün"]},
        ],
        "outputs": [{"name": "y"}],
        "parameters": {"priority": 3},
    }
    body = as_binary(brought)
    request = read(body, [Tensor("x", "FP64", [-1, 2]), Tensor("word", "BYTES", [1])])
    assert np.array_equal(request.inputs["x"], [[1, 2.5], [3, 4]])
    assert request.inputs["word"].tolist() == ["grün".encode()]
    assert (request.id, request.outputs, request.parameters["priority"]) == ("7", ("y",), 3)
    assert json.loads(as_json(brought).content) == brought


@pytest.mark.parametrize(
    "tensor",
    [
        {"name": "x", "datatype": "FP32", "shape": [1], "data": ["a"]},
        {"name": "x", "datatype": "UINT8", "shape": [1], "data": [300]},
        {"name": "x", "datatype": "FP32", "shape": [2], "data": [[1], [1, 2]]},
        {"name": "x", "datatype": "FP99", "shape": [1], "data": [1]},
        {"name": "x", "datatype": "FP32", "shape": [1]},
    ],
)
def test_data_that_is_not_what_it_says_is_refused(tensor: dict[str, Any]) -> None:
    with pytest.raises(Unfit):
        as_binary({"inputs": [tensor]})
