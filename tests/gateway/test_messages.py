"""The messages of gRPC and V2's binary form, for whatever may come."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.gateway import messages
from modelyard.gateway.messages import MESSAGES
from modelyard.gateway.problems import BodyLimit, Refusal
from modelyard.runtime import v2
from modelyard.runtime.errors import RequestError
from modelyard.runtime.frames import Head
from modelyard.runtime.signature import DATATYPES, Signature
from modelyard.runtime.tensors import to_binary

LIMIT = BodyLimit(2**20, "max_body")
FIELDS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


@st.composite
def arrays(draw):
    datatype = draw(st.sampled_from(sorted(FIELDS)))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    count = int(np.prod(shape))
    dtype = DATATYPES[datatype]
    if datatype == "BYTES":
        values = draw(st.lists(st.binary(max_size=5), min_size=count, max_size=count))
        array = np.empty(count, object)
        array[:] = values
        return datatype, array.reshape(shape)
    raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    array = np.frombuffer(raw, dtype) if datatype != "BOOL" else np.frombuffer(raw, np.uint8) > 127
    return datatype, np.nan_to_num(array).reshape(shape)


@given(st.lists(arrays(), max_size=3), st.booleans())
def test_tensors_reach_the_worker_and_come_back_as_they_were(tensors, raw):
    inputs = [
        {
            "name": f"x{index}", "datatype": datatype, "shape": array.shape,
            "contents": None if raw else {FIELDS[datatype]: array.ravel().tolist()},
        }
        for index, (datatype, array) in enumerate(tensors)
    ]  # fmt: skip
    parts = [to_binary(array, datatype) for datatype, array in tensors] if raw else []
    message = MESSAGES["ModelInferRequest"](model_name="m", id="7", inputs=inputs, raw_input_contents=parts)
    body, length = messages.request_body(messages.read("ModelInferRequest", message.SerializeToString()), LIMIT)
    request = v2.decode(body, length, Signature())
    assert request.id == "7"
    for index, (_, array) in enumerate(tensors):
        np.testing.assert_array_equal(request.inputs[f"x{index}"], array)
    answer = v2.encode(request, request.inputs, "m", "1")
    params = {} if answer.header_length is None else {"header_length": answer.header_length}
    response = MESSAGES["ModelInferResponse"].FromString(messages.response(Head("", 200, params), answer.body, raw=raw))
    assert (response.model_name, response.model_version, response.id) == ("m", "1", "7")
    for index, (datatype, array) in enumerate(tensors):
        output = response.outputs[index]
        assert (output.name, output.datatype, tuple(output.shape)) == (f"x{index}", datatype, array.shape)
        if raw:
            assert response.raw_output_contents[index] == parts[index]
        else:
            assert list(getattr(output.contents, FIELDS[datatype])) == array.ravel().tolist()


@given(st.binary(max_size=60))
def test_whatever_bytes_come_are_a_message_or_refused(content):
    for name in MESSAGES:
        with contextlib.suppress(Refusal):
            message = messages.read(name, content)
            if name == "ModelInferRequest":
                body, length = messages.request_body(message, LIMIT)
                with contextlib.suppress(RequestError):
                    v2.decode(body, length, Signature())


def test_small_numbers_that_grow_past_the_limit_in_binary_form_are_refused():
    def asked(count):
        tensor = {"name": "x", "datatype": "INT64", "shape": [count], "contents": {"int64_contents": [1] * count}}
        return MESSAGES["ModelInferRequest"](inputs=[tensor])

    assert asked(201).ByteSize() < 800
    body, length = messages.request_body(asked(100), BodyLimit(800, "max_body"))
    assert len(body) - length == 800
    with pytest.raises(Refusal) as refused:
        messages.request_body(asked(101), BodyLimit(800, "max_body"))
    assert (refused.value.status, refused.value.code) == (413, "body_too_large")


def test_many_values_are_rewritten_by_parts_without_loss():
    values = np.arange(3 * messages._PART + 1)
    tensor = {"name": "x", "datatype": "INT32", "shape": values.shape, "contents": {"int_contents": values.tolist()}}
    body, length = messages.request_body(MESSAGES["ModelInferRequest"](inputs=[tensor]), LIMIT)
    assert body[length:] == values.astype("<i4").tobytes()


def test_what_is_asked_of_an_output_and_is_not_to_be_had_is_refused():
    def asked(name):
        output = {"name": "y", "parameters": {name: MESSAGES["InferParameter"](int64_param=3)}}
        return MESSAGES["ModelInferRequest"](outputs=[{"name": "x"}, output])

    messages.request_body(asked("binary_data"), LIMIT)
    with pytest.raises(Refusal, match=r"outputs\[1\]\.parameters\.classification: there is no such parameter"):
        messages.request_body(asked("classification"), LIMIT)
