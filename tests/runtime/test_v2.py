"""The V2 codec: what it accepts, what it refuses with which paths, and that nothing changes on the way."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.runtime import v2
from modelyard.runtime.errors import InvalidFields, RequestError
from modelyard.runtime.signature import DATATYPES, Signature, TensorSpec

ANY = Signature()
SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 3)), TensorSpec("n", "INT64", (-1,))),
    outputs=(TensorSpec("y", "FP32", (-1,)), TensorSpec("z", "BYTES", (-1,))),
)
X = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2.5, 3]}
N = {"name": "n", "shape": [2], "datatype": "INT64", "data": [1, 2]}


def decode(document: Any, signature: Signature = SIGNATURE) -> v2.Request:
    return v2.decode(json.dumps(document).encode(), None, signature)


def problems(document: Any, signature: Signature = SIGNATURE) -> set[tuple[str, str]]:
    with pytest.raises(InvalidFields) as caught:
        decode(document, signature)
    assert caught.value.status == 422
    return {(path, code) for path, code, _ in caught.value.problems}


def tensor(datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "t", "shape": shape, "datatype": datatype, "data": data}]}


# ------------------------------------------------------------------ JSON in


def test_request_becomes_arrays() -> None:
    request = decode(
        {"id": "7", "inputs": [X, N], "outputs": [{"name": "z"}], "parameters": {"temperature": 0.5}},
    )
    assert request.id == "7"
    assert request.outputs == ("z",)
    assert request.parameters == {"temperature": 0.5}
    assert request.inputs["x"].dtype == np.float32
    np.testing.assert_array_equal(request.inputs["x"], [[1, 2.5, 3]])
    np.testing.assert_array_equal(request.inputs["n"], [1, 2])


def test_nested_data_is_read_in_row_major_order() -> None:
    request = decode(tensor("INT8", [2, 1, 2], [[[1, 2]], [[3, 4]]]), ANY)
    np.testing.assert_array_equal(request.inputs["t"], [[[1, 2]], [[3, 4]]])


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("BOOL", [True, False]),
        ("UINT8", [0, 255]),
        ("INT16", [-(2**15), 2**15 - 1]),
        ("UINT64", [0, 2**64 - 1]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("FP16", [0.5, 65504]),
        ("FP64", [1e308, 5e-324]),
        ("BYTES", ["", "grün\u0000"]),
    ],
)
def test_every_datatype_holds_its_extremes(datatype: str, data: list[Any]) -> None:
    array = decode(tensor(datatype, [2], data), ANY).inputs["t"]
    assert array.dtype == DATATYPES[datatype]
    assert array.tolist() == [v.encode() if isinstance(v, str) else v for v in data]


def test_empty_tensors_and_scalars_are_shapes_like_others() -> None:
    assert decode(tensor("FP32", [0, 3], []), ANY).inputs["t"].shape == (0, 3)
    assert decode(tensor("FP32", [], [5]), ANY).inputs["t"].shape == ()
    assert decode(tensor("FP32", [1, 0], [[]]), ANY).inputs["t"].shape == (1, 0)


def test_all_faults_are_reported_at_once_with_their_paths() -> None:
    document = {
        "id": 3,
        "parameters": [],
        "inputs": [
            {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [1, "2", 3]},
            {"name": "unknown", "shape": [1], "datatype": "FP31", "data": [1]},
            {"name": "x", "shape": [-1], "datatype": "INT64"},
            {"shape": "wide", "data": 3},
            "tensor",
        ],
        "outputs": [{"name": "nothing"}, {}, {"name": "y", "parameters": {"binary_data": 1}}],
    }
    assert problems(document) == {
        ("id", "invalid_type"),
        ("parameters", "invalid_type"),
        ("inputs[0].datatype", "wrong_datatype"),
        ("inputs[0].shape", "wrong_shape"),
        ("inputs[0].data", "wrong_length"),
        ("inputs[0].data", "wrong_type"),
        ("inputs[1].name", "unknown_input"),
        ("inputs[1].datatype", "unknown_datatype"),
        ("inputs[2].name", "duplicate_input"),
        ("inputs[2].datatype", "wrong_datatype"),
        ("inputs[2].shape", "invalid_shape"),
        ("inputs[2].data", "required"),
        ("inputs[3].name", "required"),
        ("inputs[3].datatype", "required"),
        ("inputs[3].shape", "required"),
        ("inputs[4]", "invalid_type"),
        ("inputs", "missing_input"),
        ("outputs[0].name", "unknown_output"),
        ("outputs[1].name", "required"),
        ("outputs[2].parameters.binary_data", "invalid_type"),
    }


@pytest.mark.parametrize("signature", [ANY, Signature((TensorSpec("t", "FP32", (-1, 4)),))])
@pytest.mark.parametrize("shape", [[1] * 100, [2**63 - 1] * 400_000])
def test_more_dimensions_than_an_array_has_are_refused_at_once(shape: list[int], signature: Signature) -> None:
    """The product of the sizes alone could take minutes."""
    assert problems(tensor("FP32", shape, [1]), signature) == {("inputs[0].shape", "wrong_shape")}


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "code"),
    [
        ("UINT8", [1], [256], "out_of_range"),
        ("UINT8", [1], [-1], "out_of_range"),
        ("INT64", [1], [2**63], "out_of_range"),
        ("INT64", [1], [2**70], "wrong_type"),  # beyond 64 bits JSON's parsers know floats only
        ("FP32", [2], [0, 1e39], "out_of_range"),
        ("FP16", [1], [70000], "out_of_range"),
        ("INT32", [1], [1.5], "wrong_type"),
        ("INT32", [1], [True], "wrong_type"),
        ("FP32", [1], [True], "wrong_type"),
        ("FP32", [1], ["1"], "wrong_type"),
        ("FP32", [1], [None], "wrong_type"),
        ("BOOL", [1], [1], "wrong_type"),
        ("BYTES", [1], [1], "wrong_type"),
        ("FP32", [2], [[1], [2, 3]], "ragged"),
        ("FP32", [2], [[1], 2], "ragged"),
        ("FP32", [2], [1, [2]], "wrong_type"),
        ("FP32", [2], [[1, 2]], "wrong_shape"),
        ("FP32", [3], [1, 2], "wrong_length"),
        ("FP32", [1], {"0": 1}, "invalid_type"),
        ("FP32", [0, 2**63 - 1], [], "wrong_shape"),
    ],
)
def test_values_that_the_datatype_does_not_hold_are_refused(datatype: str, shape: Any, data: Any, code: str) -> None:
    assert problems(tensor(datatype, shape, data), ANY) == {("inputs[0].data", code)}


def test_bf16_is_refused_with_what_to_send_instead() -> None:
    with pytest.raises(InvalidFields, match="send FP32"):
        decode(tensor("BF16", [1], [1]), ANY)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'{"inputs": NaN}', b"\xff\xfe", b"[" * 5000])
def test_body_that_is_no_json_object_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        v2.decode(body, None, ANY)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_a_thousand_faults_are_answered_with_the_first_hundred() -> None:
    with pytest.raises(InvalidFields) as caught:
        decode({"inputs": ["no"] * 1000})
    assert len(caught.value.problems) == 100


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=12,
)
wild_tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "n", "", "other"]) | json_values,
        "shape": st.lists(st.integers(-1, 4) | st.just(2**63), max_size=4) | json_values,
        "datatype": st.sampled_from([*DATATYPES, "BF16"]) | json_values,
        "data": st.lists(st.integers(-300, 300) | st.floats(allow_nan=False) | st.booleans(), max_size=5) | json_values,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 20)}) | json_values,
    },
)


@settings(max_examples=400, deadline=None)
@given(
    inputs=st.lists(wild_tensors | json_values, max_size=4) | json_values,
    rest=st.dictionaries(st.sampled_from(["id", "parameters", "outputs"]), json_values),
    header=st.booleans(),
    tail=st.binary(max_size=20),
    signature=st.sampled_from([ANY, SIGNATURE]),
)
def test_any_json_is_either_read_or_refused(
    inputs: Any, rest: dict[str, Any], header: bool, tail: bytes, signature: Signature
) -> None:
    text = json.dumps({"inputs": inputs, **rest}).encode()
    refused = None
    try:
        request = v2.decode(text + tail if header else text, len(text) if header else None, signature)
    except RequestError as error:
        refused = error
    if refused is not None:
        assert refused.status in (400, 422)
        assert refused.detail
    else:
        assert all(array.dtype in DATATYPES.values() for array in request.inputs.values())


# ------------------------------------------------------------------ out, and there and back

ROUND_TRIPS = {name: dtype for name, dtype in DATATYPES.items() if name != "BYTES"}


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    count = int(np.prod(shape))
    name = draw(st.sampled_from(sorted(DATATYPES)))
    if name == "BYTES":
        array = np.empty(count, object)
        array[:] = draw(st.lists(st.text(max_size=6).map(str.encode), min_size=count, max_size=count))
        return array.reshape(shape)
    raw = draw(st.binary(min_size=count * 8, max_size=count * 8))
    if name == "BOOL":
        return (np.frombuffer(raw, np.uint8)[:count] > 127).reshape(shape)
    array = np.frombuffer(raw[: count * DATATYPES[name].itemsize], DATATYPES[name])
    return np.nan_to_num(array, posinf=1, neginf=-1).reshape(shape)


@settings(max_examples=200, deadline=None)
@given(array=arrays(), binary=st.booleans())
def test_what_a_response_says_is_what_a_request_with_it_means(array: np.ndarray[Any, Any], binary: bool) -> None:
    """A response's tensor, sent back as an input, is the same array: both directions agree, in both forms."""
    asking = v2.Request("1", {}, {}, None, {}, binary)
    encoded = v2.encode(asking, {"t": array}, "m", "1")
    head = json.loads(encoded.body[: encoded.header_length])
    text = json.dumps({"inputs": head["outputs"]}).encode()
    body, length = text, None
    if encoded.header_length is not None:
        body, length = text + encoded.body[encoded.header_length :], len(text)
        assert encoded.content_type == "application/octet-stream"
    back = v2.decode(memoryview(body), length, ANY).inputs["t"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tolist() == array.tolist()


def test_response_has_the_outputs_asked_for_in_that_order() -> None:
    request = v2.Request("id-1", {}, {}, ("b", "a"), {}, False)
    answers = {"a": np.array([1]), "b": np.array([[2.5]], np.float32), "c": np.array([3])}
    assert json.loads(v2.encode(request, answers, "m", "7").body) == {
        "model_name": "m",
        "model_version": "7",
        "id": "id-1",
        "outputs": [
            {"name": "b", "datatype": "FP32", "shape": [1, 1], "data": [2.5]},
            {"name": "a", "datatype": "INT64", "shape": [1], "data": [1]},
        ],
    }


def test_arrays_of_any_layout_are_written_in_row_major_order() -> None:
    array = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    for binary in (False, True):
        encoded = v2.encode(v2.Request(None, {}, {}, None, {}, binary), {"t": array}, "m", "1")
        head = json.loads(encoded.body[: encoded.header_length])
        data = head["outputs"][0].get("data") or np.frombuffer(encoded.body[encoded.header_length :], "<i4").tolist()
        assert data == [0, 1, 2, 3, 4, 5]


def test_nan_is_refused_in_json_and_carried_in_binary() -> None:
    answers = {"y": np.array([[1, np.nan]], np.float32)}
    with pytest.raises(RequestError, match=r"nan \(element 1 of output 'y'\)") as caught:
        v2.encode(v2.Request(None, {}, {}, None, {}, False), answers, "m", "1")
    assert (caught.value.status, caught.value.code) == (500, "output_not_finite")
    encoded = v2.encode(v2.Request(None, {}, {}, None, {}, True), answers, "m", "1")
    assert np.isnan(np.frombuffer(encoded.body[encoded.header_length :], np.float32)[1])


def test_text_that_says_null_is_not_taken_for_nan() -> None:
    answers = {"y": np.array(["null"]), "x": np.array([1.5])}
    assert b'"null"' in v2.encode(v2.Request("null", {}, {}, None, {}, False), answers, "m", "1").body


def test_bytes_that_are_no_text_need_the_binary_form() -> None:
    answers = {"y": np.array([b"\xff"], object)}
    with pytest.raises(RequestError, match="binary_data"):
        v2.encode(v2.Request(None, {}, {}, None, {}, False), answers, "m", "1")
    encoded = v2.encode(v2.Request(None, {}, {}, None, {"y": True}, False), answers, "m", "1")
    assert encoded.body.endswith(b"\x01\x00\x00\x00\xff")


@pytest.mark.parametrize("answer", [np.array([1j]), np.array([object()]), [[1], [2, 3]], np.array(["2020"], "M8")])
def test_answer_that_v2_has_no_type_for_is_the_models_fault(answer: Any) -> None:
    with pytest.raises(RequestError) as caught:
        v2.encode(v2.Request(None, {}, {}, None, {}, False), {"y": answer}, "m", "1")
    assert (caught.value.status, caught.value.code) == (500, "model_error")


def test_output_that_the_model_left_out_is_the_models_fault() -> None:
    with pytest.raises(RequestError, match="'y'"):
        v2.encode(v2.Request(None, {}, {}, ("y",), {}, False), {"x": np.array([1])}, "m", "1")


# ------------------------------------------------------------------ binary in


def binary(*entries: tuple[dict[str, Any], bytes]) -> tuple[bytes, int]:
    head = json.dumps(
        {"inputs": [{**entry, "parameters": {"binary_data_size": len(part)}} for entry, part in entries]}
    ).encode()
    return head + b"".join(part for _, part in entries), len(head)


def test_binary_tensors_are_views_of_the_body_where_they_are_aligned() -> None:
    head = {"name": "t", "shape": [2, 2], "datatype": "FP32"}
    body, length = binary((head, np.arange(4, dtype="<f4").tobytes()))
    padding = -length % 4
    body = body[: length - 1] + b" " * padding + body[length - 1 :]
    array = v2.decode(memoryview(body), length + padding, ANY).inputs["t"]
    np.testing.assert_array_equal(array, [[0, 1], [2, 3]])
    assert not array.flags.owndata
    assert not array.flags.writeable


def test_binary_and_json_tensors_may_be_mixed() -> None:
    head = json.dumps(
        {
            "inputs": [
                {"name": "a", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}},
                {"name": "b", "shape": [1], "datatype": "FP32", "data": [1]},
                {"name": "c", "shape": [2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}},
            ]
        }
    ).encode()
    inputs = v2.decode(head + struct.pack("<I", 2) + b"\xff\x00" + b"\x00\x02", len(head), ANY).inputs
    assert inputs["a"].tolist() == [b"\xff\x00"]
    assert inputs["b"].tolist() == [1]
    assert inputs["c"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("entry", "part", "path", "code"),
    [
        ({"shape": [2], "datatype": "FP32"}, b"1234", "inputs[0].parameters.binary_data_size", "wrong_length"),
        ({"shape": [1], "datatype": "BYTES"}, b"\x09\0\0\0a", "inputs[0].parameters.binary_data_size", "malformed"),
        ({"shape": [1], "datatype": "BYTES"}, b"\x09\0", "inputs[0].parameters.binary_data_size", "malformed"),
        ({"shape": [2], "datatype": "BYTES"}, b"\0\0\0\0", "inputs[0].parameters.binary_data_size", "wrong_length"),
        ({"shape": [1], "datatype": "FP32", "data": [1]}, b"1234", "inputs[0].data", "conflict"),
    ],
)
def test_binary_part_that_does_not_fit_is_refused(entry: Any, part: bytes, path: str, code: str) -> None:
    body, length = binary(({"name": "t", **entry}, part))
    with pytest.raises(InvalidFields) as caught:
        v2.decode(body, length, ANY)
    assert [(p, c) for p, c, _ in caught.value.problems] == [(path, code)]


def test_binary_body_shorter_or_longer_than_its_tensors_is_refused() -> None:
    body, length = binary(({"name": "t", "shape": [1], "datatype": "FP32"}, b"1234"))
    with pytest.raises(InvalidFields, match="only 2 left"):
        v2.decode(body[:-2], length, ANY)
    with pytest.raises(InvalidFields, match="3 bytes follow"):
        v2.decode(body + b"abc", length, ANY)
    with pytest.raises(InvalidFields, match="Inference-Header-Content-Length"):
        v2.decode(body[:length], None, ANY)
    for wrong in (0, -1, len(body) + 1):
        with pytest.raises(RequestError) as caught:
            v2.decode(body, wrong, ANY)
        assert caught.value.code == "invalid_header_length"


def test_outputs_choose_their_own_form_over_the_requests() -> None:
    request = decode(
        {
            "inputs": [X, N],
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "y"}, {"name": "z", "parameters": {"binary_data": False}}],
        }
    )
    encoded = v2.encode(request, {"y": np.array([1.0]), "z": np.array(["text"])}, "m", "1")
    head = json.loads(encoded.body[: encoded.header_length])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert head["outputs"][1]["data"] == ["text"]
