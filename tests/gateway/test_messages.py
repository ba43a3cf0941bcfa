"""The messages of gRPC and V2's binary form, for whatever may come."""

import contextlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelyard.gateway import messages
from modelyard.gateway.messages import MESSAGES
from modelyard.gateway.problems import Refusal
from modelyard.runtime import v2
from modelyard.runtime.errors import RequestError
from modelyard.runtime.frames import Head
from modelyard.runtime.signature import DATATYPES, Signature
from modelyard.runtime.tensors import to_binary

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
    body, length = messages.request_body(messages.read("ModelInferRequest", message.SerializeToString()))
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
                body, length = messages.request_body(message)
                with contextlib.suppress(RequestError):
                    v2.decode(body, length, Signature())
