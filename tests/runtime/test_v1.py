"""KServe's V1 protocol, between JSON and arrays."""

import contextlib
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.runtime import v1
from modelyard.runtime.errors import InvalidFields, RequestError
from modelyard.runtime.signature import DATATYPES, Signature, TensorSpec

MATRIX = Signature((TensorSpec("x", "FP32", (-1, 3)),), None)
PAIR = Signature((TensorSpec("age", "INT64", (-1,)), TensorSpec("scores", "FP64", (-1, 2))), None)
TEXTS = Signature((TensorSpec("text", "BYTES", (-1,)),), None)
ANYTHING = Signature()


def decode(document, signature=MATRIX):
    return v1.decode(json.dumps(document).encode(), signature)


def faults(document, signature=MATRIX):
    with pytest.raises(InvalidFields) as raised:
        decode(document, signature)
    return [(path, code) for path, code, _ in raised.value.problems]


def predictions(**outputs):
    return json.loads(v1.encode(outputs).body)["predictions"]


def test_rows_and_columns_are_the_same_request():
    rows = decode({"instances": [[1, 2, 3], [4, 5.5, 6]], "parameters": {"a": 1}})
    columns = decode({"inputs": [[1, 2, 3], [4, 5.5, 6]], "parameters": {"a": 1}})
    named = decode({"inputs": {"x": [[1, 2, 3], [4, 5.5, 6]]}})
    assert rows.parameters == columns.parameters == {"a": 1}
    for request in (rows, columns, named, decode({"instances": [{"x": [1, 2, 3]}, {"x": [4, 5.5, 6]}]})):
        assert request.inputs["x"].dtype == np.float32
        assert request.inputs["x"].tolist() == [[1, 2, 3], [4, 5.5, 6]]


def test_several_inputs_are_objects_by_name():
    rows = decode({"instances": [{"age": 3, "scores": [1, 2]}, {"scores": [3, 4], "age": 4}]}, PAIR)
    columns = decode({"inputs": {"age": [3, 4], "scores": [[1, 2], [3, 4]]}}, PAIR)
    for request in (rows, columns):
        assert request.inputs["age"].tolist() == [3, 4]
        assert request.inputs["scores"].tolist() == [[1, 2], [3, 4]]


def test_a_model_that_says_nothing_gets_what_the_values_tell():
    for values, kind in (([1, 2], np.int64), ([1, 2.5], np.float64), ([True, False], np.bool_), (["a", "b"], object)):
        array = decode({"instances": values}, ANYTHING).inputs["input-0"]
        assert array.dtype == kind
    assert decode({"instances": [{"b": [1]}, {"b": [2]}]}, ANYTHING).inputs["b"].tolist() == [[1], [2]]


def test_what_the_values_tell_takes_no_more_memory_than_they_do():
    document = json.dumps({"instances": ["x" * 100_000] + ["y"] * 10_000}).encode()
    tracemalloc.start()
    try:
        decoded = v1.decode(document, ANYTHING).inputs["input-0"]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(decoded), decoded[-1]) == (10_001, b"y")
    assert most < 10 * 2**20


def test_whole_numbers_are_told_by_the_largest():
    assert decode({"instances": [1, 2**63 - 1]}, ANYTHING).inputs["input-0"].dtype == np.int64
    assert decode({"instances": [1, 2**63]}, ANYTHING).inputs["input-0"].dtype == np.uint64
    assert decode({"instances": [[], []]}, ANYTHING).inputs["input-0"].dtype == np.float64
    assert faults({"instances": [-1, 2**63]}, ANYTHING) == [("instances[0]", "out_of_range")]


@pytest.mark.parametrize("depth", [64, 65, 900])
@pytest.mark.parametrize("value", [1, "a"])
@pytest.mark.parametrize("signature", [ANYTHING, TEXTS, MATRIX])
def test_what_is_nested_deeper_than_any_array_is_refused(depth, value, signature):
    row = json.dumps(value)
    body = b'{"instances": ["a", %b]}' % ("[" * depth + row + "]" * depth).encode()
    only = b'{"instances": %b}' % ("[" * depth + row + "]" * depth).encode()
    for each in (body, only):
        if each is only and depth == 64 and signature is ANYTHING:
            assert v1.decode(each, signature).inputs["input-0"].ndim == 64
            continue
        with pytest.raises(InvalidFields):
            v1.decode(each, signature)


def test_no_more_faults_are_looked_for_than_are_told(monkeypatch):
    looked = []
    convert = v1._convert
    monkeypatch.setattr(v1, "_convert", lambda *given: looked.append(1) or convert(*given))
    assert len(faults({"instances": [[1, 2, None]] * 1000})) == 100
    assert len(looked) < 110
    many = {str(number): 1 for number in range(1000)}
    with pytest.raises(InvalidFields) as raised:
        decode({"instances": [many, {f"{name}?": 1 for name in many}]}, ANYTHING)
    assert len(raised.value.problems) == 100
    assert len(str(raised.value.problems)) < 50_000


def test_bytes_are_text_or_base64():
    request = decode({"instances": ["grün", {"b64": "AP8="}]}, TEXTS)
    assert request.inputs["text"].tolist() == ["grün".encode(), b"\x00\xff"]
    assert predictions(text=np.array([b"ok", b"\x00\xff"], object)) == ["ok", {"b64": "AP8="}]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, [("instances", "required")]),
        ({"instances": [[1, 2, 3]], "inputs": []}, [("instances", "required")]),
        ({"instances": []}, [("instances", "required")]),
        ({"instances": 3}, [("instances", "required")]),
        ({"instances": [[1, 2, 3]] * 3 + [[1, 2]]}, [("instances[3]", "wrong_shape")]),
        ({"instances": [[1, 2, 3], 4]}, [("instances[1]", "wrong_shape")]),
        ({"instances": [[1, 2, 3], [1, "2", 3]]}, [("instances[1]", "wrong_type")]),
        ({"instances": [[1, 2, 3], [1, [2], 3]]}, [("instances[1]", "wrong_type")]),
        ({"instances": [[1, 2, 1e300]]}, [("instances[0]", "out_of_range")]),
        ({"instances": [{"x": [1, 2, 3]}, {"y": [1, 2, 3]}]},
         [("instances[1]", "missing_input"), ("instances[1].y", "unknown_input")]),
        ({"instances": [{"x": [1, 2, 3]}, [1, 2, 3]]}, [("instances[1]", "invalid_type")]),
        ({"instances": [{"x": [1, 2, 3]}, {"x": [1, 2]}]}, [("instances[1].x", "wrong_shape")]),
        ({"inputs": {"x": [[1, 2, 3], [1]]}}, [("inputs.x[1]", "wrong_shape")]),
        ({"inputs": {"y": []}}, [("inputs", "missing_input"), ("inputs.y", "unknown_input")]),
        ({"inputs": None}, [("inputs", "invalid_type")]),
        ({"instances": [[1, 2, 3]], "parameters": []}, [("parameters", "invalid_type")]),
    ],
)  # fmt: skip
def test_faults_name_their_place(document, expected):
    assert faults(document) == expected


def test_rows_of_unequal_shape_are_refused_where_any_one_would_do():
    free = Signature((TensorSpec("x", "FP32", (-1, -1)),), None)
    assert faults({"instances": [[1], [1, 2]]}, free) == [("instances[1]", "ragged")]
    assert faults({"instances": [[1], [1, 2]]}, ANYTHING) == [("instances[1]", "ragged")]


def test_several_inputs_without_names_are_refused():
    assert faults({"instances": [[1, 2]]}, PAIR) == [("instances[0]", "missing_input")]
    assert faults({"inputs": [[1, 2]]}, PAIR) == [("inputs", "missing_input")]


@pytest.mark.parametrize("value", [{"b64": "!"}, {"b64": 3}, 4, None, {"b64": "AA==", "more": 1}])
def test_what_is_no_bytes_is_refused(value):
    assert [path for path, _ in faults({"instances": ["a", value]}, TEXTS)] == ["instances[1]"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(RequestError) as raised:
        v1.decode(body, MATRIX)
    assert (raised.value.status, raised.value.code) == (400, "invalid_json")


def test_one_output_is_given_as_rows_and_several_as_objects():
    assert predictions(y=np.array([[1.5, 2], [3, 4]], np.float32)) == [[1.5, 2.0], [3.0, 4.0]]
    assert predictions(label=np.array([7, 1]), p=np.array([[0.1, 0.9], [0.5, 0.5]], np.float32)) == [
        {"label": 7, "p": [0.1, 0.9]},
        {"label": 1, "p": [0.5, 0.5]},
    ]
    assert predictions(label=np.array([7], np.longlong), p=np.array([0.1], np.float32)) == [{"label": 7, "p": 0.1}]
    assert predictions(rows=np.array([1, 2]), total=np.array(3)) == {"rows": [1, 2], "total": 3}
    assert predictions(flags=np.array([True, False]).T, half=np.array([1, 2], np.float16)) == [
        {"flags": True, "half": 1.0},
        {"flags": False, "half": 2.0},
    ]
    assert predictions(y=np.arange(6).reshape(2, 3).T) == [[0, 3], [1, 4], [2, 5]]
    assert predictions(y=np.arange(6.0)[::2]) == [0, 2, 4]
    assert predictions(y=np.array(1.5)) == 1.5


def test_what_json_cannot_carry_is_refused():
    with pytest.raises(RequestError) as raised:
        v1.encode({"y": np.array([[1.0, np.nan]])})
    assert raised.value.code == "output_not_finite"
    assert predictions(y=np.array(["null"])) == ["null"]


@given(st.data())
def test_what_v1_writes_it_reads(data):
    datatype = data.draw(st.sampled_from([name for name in DATATYPES if name != "BYTES"]))
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    dtype = DATATYPES[datatype]
    count = int(np.prod(shape))
    if dtype.kind == "f":
        values = data.draw(st.lists(st.floats(-1000, 1000, width=16), min_size=count, max_size=count))
    else:
        low, high = (0, 1) if datatype == "BOOL" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        values = data.draw(st.lists(st.integers(int(low), int(high)), min_size=count, max_size=count))
    array = np.array(values, dtype).reshape(shape)
    signature = Signature((TensorSpec("x", datatype, (-1, *shape[1:])),), None)
    read = decode({"instances": predictions(y=array)}, signature).inputs["x"]
    assert read.dtype == dtype
    assert read.tolist() == array.tolist()


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
NAMES = st.sampled_from(["x", "b64", "instances", "inputs"])


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner)))
def test_whatever_json_comes_is_read_or_refused(value):
    for signature in (MATRIX, PAIR, TEXTS, ANYTHING):
        for document in ({"instances": value}, {"inputs": value}):
            with contextlib.suppress(InvalidFields):
                v1.decode(json.dumps(document).encode(), signature)
