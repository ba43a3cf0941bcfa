"""safetensors files of the format's own library, and files that it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from modelyard.registry.formats.parts import Malformed, Span
from modelyard.registry.formats.safetensors import header_of, one_tensor_header, spans
from tests.registry.formats.making import assert_covers, raw_safetensors, safetensors_bytes, write

ONE = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


def test_the_header_says_what_the_library_reads(home: Path) -> None:
    path = write(home / "m.safetensors", safetensors_bytes())
    header = header_of(path)
    content = path.read_bytes()
    assert header.metadata == {"format": "np"}
    with safetensors.safe_open(path, "np") as expected:
        assert set(header.tensors) == set(expected.keys())
        for name, found in header.tensors.items():
            array = expected.get_tensor(name)
            assert (found.shape, found.end - found.start) == (array.shape, array.nbytes)
            assert content[found.start : found.end] == array.tobytes()


def test_each_tensor_is_a_span_and_the_header_is_plain(home: Path) -> None:
    path = write(home / "m.safetensors", safetensors_bytes())
    found = spans(path)
    assert_covers(found, path.stat().st_size)
    assert found[0] == Span(offset=0, size=header_of(path).data_start)
    assert {(span.tensor, span.dtype, span.shape) for span in found[1:]} == {
        ("weight", "F32", (3, 4)),
        ("bias", "F16", (4,)),
        ("step", "I64", ()),
    }


def test_a_tensor_without_bytes_has_no_span(home: Path) -> None:
    path = write(home / "m.safetensors", safetensors_bytes())
    assert "empty" in header_of(path).tensors
    assert "empty" not in {span.tensor for span in spans(path)}


def test_holes_are_plain_to_whoever_cuts_and_an_error_to_whoever_checks(home: Path) -> None:
    header = {"a": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}
    path = write(home / "m.safetensors", raw_safetensors(header, b"..aaaa..."))
    found = spans(path)
    assert_covers(found, path.stat().st_size)
    assert [span.tensor for span in found] == [None, "a", None]
    with pytest.raises(Malformed, match="leaves a hole"):
        header_of(path)


def test_a_dtype_of_the_future_is_taken_at_its_word(home: Path) -> None:
    header = {"a": {"dtype": "F3_NEW", "shape": [9], "data_offsets": [0, 4]}}
    path = write(home / "m.safetensors", raw_safetensors(header, b"aaaa"))
    assert header_of(path).tensors["a"].dtype == "F3_NEW"


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"a": ONE}, b"aaa", "outside the file"),
        ({"a": ONE}, b"aaaaa", "belong to no tensor"),
        ({"a": ONE, "b": ONE}, b"aaaa", "overlaps"),
        ({"a": {**ONE, "shape": [5]}}, b"aaaa", "its shape and dtype make 5"),
        ({"a": {**ONE, "shape": [-4]}}, b"aaaa", "that are none"),
        ({"a": {**ONE, "shape": [True] * 4}}, b"aaaa", "that are none"),
        ({"a": {**ONE, "shape": [1] * 100}}, b"aaaa", "that are none"),
        ({"a": {**ONE, "shape": [2**62] * 60}}, b"aaaa", "its shape and dtype make"),
        ({"a": {**ONE, "dtype": 7}}, b"aaaa", "that are none"),
        ({"a": {**ONE, "data_offsets": [4, 0]}}, b"aaaa", "outside the file"),
        ({"a": {**ONE, "data_offsets": [0]}}, b"aaaa", "lacks"),
        ({"a": {"dtype": "U8"}}, b"", "lacks"),
        ({"a": 7}, b"", "lacks"),
        ({"\ud800": ONE}, b"aaaa", "lacks"),
        ({"__metadata__": {"a": 1}}, b"", "not a map of texts"),
        ({"__metadata__": []}, b"", "not a map of texts"),
        (b'{"a":1,"a":2}', b"", "there twice"),
        (b'{"a":NaN}', b"", "not JSON"),
        (b'{"a":' + b"[" * 100_000, b"", "cannot be read"),
        (b'{"a":' + b"9" * 10_000 + b"}", b"", "cannot be read"),
        (b'{"a":"\xff"}', b"", "cannot be read"),
        (b'{"a":[' + b"0," * 5_000_000 + b"0]}", b"", "too many parts"),
        (b"[]", b"", "does not begin"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(home: Path, header: Any, data: bytes, message: str) -> None:
    path = write(home / "m.safetensors", raw_safetensors(header, data))
    with pytest.raises(Malformed, match=message):
        header_of(path)


def test_a_header_longer_than_the_file_or_than_the_format_allows_is_refused(home: Path) -> None:
    path = write(home / "m.safetensors", (2**60).to_bytes(8, "little") + b"{}")
    with pytest.raises(Malformed, match="its header would have"):
        header_of(path)
    with path.open("r+b") as file:
        file.write((100_000_001).to_bytes(8, "little") + b"{}")
        file.truncate(200_000_000)
    with pytest.raises(Malformed, match="its header would have"):
        header_of(path)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.zeros((0, 3), np.int8),
        np.array(3.5),
        np.array([True, False]),
        np.arange(3, dtype=np.uint16),
    ],
)
@pytest.mark.parametrize("name", ["w", "layers.0.größe", 'quo"te\\', ""])
def test_a_header_for_one_tensor_makes_its_bytes_a_file_that_the_library_reads(
    array: np.ndarray[Any, Any], name: str
) -> None:
    dtype = {"f4": "F32", "i1": "I8", "f8": "F64", "b1": "BOOL", "u2": "U16"}[array.dtype.str[1:]]
    prefix = one_tensor_header(name, dtype, array.shape)
    assert len(prefix) % 8 == 0
    loaded = safetensors.numpy.load(prefix + array.tobytes())
    assert list(loaded) == [name]
    np.testing.assert_array_equal(loaded[name], array)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.integers(0, 2**31), max_size=5))
def test_a_header_for_one_tensor_is_read_back_as_written(name: str, shape: list[int]) -> None:
    prefix = one_tensor_header(name, "F32", tuple(shape))
    assert prefix == one_tensor_header(name, "F32", tuple(shape))
    assert len(prefix) == 8 + int.from_bytes(prefix[:8], "little")


def test_a_header_for_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="no dtype 'Q4_K'"):
        one_tensor_header("w", "Q4_K", (1,))


def test_a_header_for_a_tensor_with_the_formats_own_name_is_refused() -> None:
    with pytest.raises(ValueError, match="No tensor is called __metadata__"):
        one_tensor_header("__metadata__", "U8", (1,))
