"""The short way says what V2's own module says, or nothing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.runtime import quick, v2
from modelyard.runtime.errors import RequestError
from modelyard.runtime.signature import DATATYPES, Signature, TensorSpec

ANY = Signature()
SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 2)), TensorSpec("größe", "INT64", (-1,))),
    outputs=(TensorSpec("y", "FP32", (-1,)), TensorSpec("z", "BYTES", (-1,))),
)
ONE = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),))


def by_both_ways(
    body: bytes, header_length: int | None, signature: Signature
) -> tuple[v2.Request | None, v2.Request | None]:
    """The requests that the short and the long way make of a body; None: refused, or not for the short one."""
    try:
        long = v2.decode(body, header_length, signature)
    except RequestError:
        long = None
    try:
        document, binary = v2.split(memoryview(body), header_length)
    except RequestError:
        return None, long
    text = memoryview(body)[:header_length]
    return quick.Reader(signature).read(document, text, binary), long


def assert_same(short: v2.Request, long: v2.Request | None) -> None:
    assert long is not None
    assert (short.id, short.parameters, short.outputs) == (long.id, long.parameters, long.outputs)
    assert (short.binary, short.binary_default) == (long.binary, long.binary_default)
    assert list(short.inputs) == list(long.inputs)
    for name, array in short.inputs.items():
        assert (array.dtype, array.shape) == (long.inputs[name].dtype, long.inputs[name].shape)
        # Bit for bit: -0.0 is not 0.0.
        assert array.tobytes() == long.inputs[name].tobytes()


# ------------------------------------------------------------------ JSON, as texts: numbers have many spellings

numbers = (
    st.integers(-300, 300).map(str)
    | st.integers(-(2**65), 2**65).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr)
    | st.sampled_from(
        ["-0", "-0.0", "0.0", "1e5", "1E+2", "2.0", "1e39", "-1e39", "3.4028235e38", "3.4028236e38", "1e-50", "1e400"]
    )
)
odd = st.sampled_from(["true", "false", "null", "NaN", "Infinity", '"1"', "{}", "[]", "[1]", "01", "1.", '"true"', ""])
values = st.one_of(numbers, numbers, numbers, numbers, odd)


@st.composite
def data(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(["plain", "plain", "nested", "wild"]))
    if kind == "plain":
        items = draw(st.lists(numbers, max_size=6))
    elif kind == "nested":
        width = draw(st.integers(1, 3))
        rows = draw(st.lists(st.lists(numbers, min_size=width, max_size=width), max_size=3))
        items = [f"[{','.join(row)}]" for row in rows]
    else:
        items = draw(st.lists(values | st.lists(values, max_size=3).map(lambda row: f"[{','.join(row)}]"), max_size=5))
    return f"[{','.join(items)}]"


names = st.sampled_from(['"x"', '"größe"', '"gr\\u00f6\\u00dfe"', '"y"', '"data"', '"true"', "3", '""'])
shapes = st.lists(st.sampled_from(["1", "2", "3", "0", "-1", "2.0", "true", str(2**63)]), max_size=3).map(
    lambda sizes: f"[{','.join(sizes)}]"
)
datatypes = st.sampled_from([f'"{name}"' for name in (*DATATYPES, "FP32", "FP32", "INT64", "BF16")] + ["null"])
keys = {"name": names, "shape": shapes, "datatype": datatypes, "data": data(), "parameters": st.just("{}")}


@st.composite
def tensors(draw: st.DrawFn) -> str:
    fields = []
    # The last of several fields of one name counts.
    wanted = draw(st.sampled_from([["name", "shape", "datatype", "data"]] * 4 + [["data", "name", "data", "shape"]]))
    for key in draw(st.permutations(wanted)):
        spelling = draw(st.sampled_from([f'"{key}"'] * 9 + [f'"\\u{ord(key[0]):04x}{key[1:]}"']))
        fields.append(f"{spelling}:{draw(keys[key])}")
    if draw(st.integers(0, 9)) == 0:
        fields.append(f'"parameters":{draw(st.sampled_from(["{}", "null", "3"]))}')
    return f"{{{','.join(fields)}}}"


@st.composite
def fitting(draw: st.DrawFn) -> str:
    """A tensor that is often right."""
    count = draw(st.integers(1, 3))
    datatype = draw(st.sampled_from(["FP32", "FP64", "INT64", "INT8", "UINT64", "BOOL", "FP16"]))
    items = draw(st.lists(values, min_size=count * 2, max_size=count * 2))
    return f'{{"name":"x","shape":[{count},2],"datatype":"{datatype}","data":[{",".join(items)}]}}'


rests = st.dictionaries(
    st.sampled_from(["id", "parameters", "outputs", "more"]),
    st.sampled_from(
        [
            *('"1"', "3", "null", "true", "[]", "{}", '{"a":true}', '{"binary_data_output":true}', '[{"name":"y"}]'),
            *('[{"name":"y","parameters":{"binary_data":true}}]', '[{"name":"nothing"}]'),
        ]
    ),
    max_size=2,
)


@settings(max_examples=300, deadline=None)
@given(
    inputs=st.lists(tensors() | fitting(), max_size=2),
    rest=rests,
    signature=st.sampled_from([ANY, ONE, SIGNATURE]),
    space=st.sampled_from(["", " "]),
)
def test_what_is_read_the_short_way_is_what_the_long_way_reads(
    inputs: list[str], rest: dict[str, str], signature: Signature, space: str
) -> None:
    fields = [f'"inputs":{space}[{",".join(inputs)}]', *(f'"{key}":{space}{value}' for key, value in rest.items())]
    body = f"{{{','.join(fields)}}}".encode()
    short, long = by_both_ways(body, None, signature)
    if short is not None:
        assert_same(short, long)


@pytest.mark.parametrize(
    "values", ["[0.5, true]", "[1, false]", "[1e39, 0]", '["1", 2]', "[null, 1]", "[NaN, 1]", "[[1], [2, 3]]", "[1]"]
)
def test_what_is_at_fault_is_left_to_the_long_way(values: str) -> None:
    body = f'{{"inputs":[{{"name":"x","shape":[1,2],"datatype":"FP32","data":{values}}}]}}'.encode()
    assert by_both_ways(body, None, ONE) == (None, None)


def test_common_requests_take_the_short_way() -> None:
    for values in ([1, 2.5], [[1, 2.5]], [-0.0, 1e-7]):
        entry = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": values}
        for more in ({}, {"id": "ü", "parameters": {"a": True}, "outputs": [{"name": "y"}]}):
            short, long = by_both_ways(json.dumps({"inputs": [entry], **more}).encode(), None, ONE)
            assert short is not None
            assert_same(short, long)


# ------------------------------------------------------------------ binary


@settings(max_examples=150, deadline=None)
@given(
    datatype=st.sampled_from(sorted(DATATYPES)),
    shape=st.lists(st.integers(0, 3), max_size=3),
    sizes=st.lists(st.integers(-1, 40) | st.just(None), min_size=1, max_size=2),
    right=st.booleans(),
    tail=st.binary(max_size=48),
    padding=st.integers(0, 8),
)
def test_binary_tensors_are_read_as_the_long_way_reads_them(
    datatype: str, shape: list[int], sizes: list[int | None], right: bool, tail: bytes, padding: int
) -> None:
    count = int(np.prod(shape)) * DATATYPES[datatype].itemsize
    if right:
        sizes, tail = [count], ((tail + b"\x01") * (count + 1))[:count]
    entries = [
        {"name": "ab"[place], "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
        for place, size in enumerate(sizes)
    ]
    text = json.dumps({"inputs": entries}).encode() + b" " * padding
    short, long = by_both_ways(text + tail, len(text), ANY)
    if short is not None:
        assert_same(short, long)
        reader = quick.Reader(ANY)
        document, binary = v2.split(memoryview(text + bytes(len(tail))), len(text))
        reader.read(document, text, binary)
        again = reader.read_again(memoryview(text + tail), len(text))
        assert again is not None
        assert_same(again, long)
        assert reader.read_again(text + tail[1:], len(text)) is None
        assert reader.read_again(text + tail, len(text) - 1) is None
    if right and count and datatype in ("FP32", "INT64"):
        assert short is not None


# ------------------------------------------------------------------ answers


@st.composite
def arrays(draw: st.DrawFn, rows: int | None = None) -> Any:
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=2)))
    if rows is not None:
        shape = (rows, *shape)
    count = int(np.prod(shape))
    name = draw(st.sampled_from(sorted(DATATYPES)))
    if name == "BYTES":
        texts = draw(st.lists(st.text(max_size=3), min_size=count, max_size=count))
        return np.array(texts, draw(st.sampled_from([object, "U3"]))).reshape(shape)
    raw = draw(st.binary(min_size=count * 8, max_size=count * 8))
    if name == "BOOL":
        return (np.frombuffer(raw, np.uint8)[:count] > 127).reshape(shape)
    array = np.frombuffer(raw[: count * DATATYPES[name].itemsize], DATATYPES[name]).reshape(shape)
    if draw(st.booleans()) and array.dtype.kind == "f":
        array = np.nan_to_num(array, posinf=1, neginf=-1)
    layout = draw(st.sampled_from(["as it is", "fortran", "swapped", "strided"]))
    if layout == "strided" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if layout == "fortran":
        return np.asfortranarray(array)
    return array.astype(array.dtype.newbyteorder()) if layout == "swapped" else array


def long_way(request: v2.Request, outputs: Any) -> v2.Encoded | None:
    try:
        return v2.encode(request, outputs, 'm%s"', "1")
    except RequestError:
        return None


requests = st.builds(
    v2.Request,
    id=st.none() | st.text(max_size=3),
    inputs=st.just({}),
    parameters=st.just({}),
    outputs=st.none() | st.just(("b%d", "a")) | st.just(("a",)),
    binary=st.dictionaries(st.sampled_from(["a", "b%d"]), st.booleans()),
    binary_default=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(request=requests, a=arrays(), b=arrays())
def test_what_is_written_the_short_way_is_what_the_long_way_writes(request: v2.Request, a: Any, b: Any) -> None:
    outputs = {"a": a, "b%d": b}
    writer = quick.Writer('m%s"', "1")
    for _ in range(2):  # the second time by the template of the first
        short = writer.write(request, outputs)
        if short is not None:
            assert short == long_way(request, outputs)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), ids=st.lists(st.none() | st.text(max_size=3), min_size=1, max_size=4))
def test_answers_of_a_batch_are_those_of_its_rows(data: st.DataObject, ids: list[str | None]) -> None:
    asked = data.draw(st.none() | st.just(("b%d", "a")))
    batch = [v2.Request(id, {}, {}, asked, {}, False) for id in ids]
    outputs = {name: data.draw(arrays(rows=len(ids))) for name in ("a", "b%d")}
    short = quick.Writer('m%s"', "1").write_rows(batch, outputs)
    if short is not None:
        rows = [{name: array[place : place + 1] for name, array in outputs.items()} for place in range(len(ids))]
        assert short == [long_way(request, row) for request, row in zip(batch, rows, strict=True)]


def test_what_json_has_no_number_for_is_left_to_the_long_way() -> None:
    request = v2.Request(None, {}, {}, None, {}, False)
    outputs = {"y": np.array([1.5, np.nan], np.float32)}
    assert quick.Writer("m", "1").write(request, outputs) is None
    assert quick.Writer("m", "1").write_rows([request, request], outputs) is None
    written = quick.Writer("m", "1").write(request, {"y": np.array([0.1], np.float32)})
    assert written is not None
    assert b"[0.1]" in written.body


@pytest.mark.parametrize("binary", [False, True])
def test_arrays_with_gaps_are_written_too(binary: bool) -> None:
    request = v2.Request(None, {}, {}, None, {}, binary)
    outputs = {"a": np.arange(6.0)[::2], "b%d": np.arange(6)[::-1]}
    assert quick.Writer('m%s"', "1").write(request, outputs) == long_way(request, outputs)
