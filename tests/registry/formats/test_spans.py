"""Any file at all: cut by tensor where it has tensors, left whole where not, never a crash."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import skops.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from modelyard.registry.formats.scan import scan
from modelyard.registry.formats.spans import spans
from tests.registry.formats.making import (
    assert_covers,
    gguf_bytes,
    matrix_model,
    raw_safetensors,
    safetensors_bytes,
    write,
)


def npz_bytes() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, a=np.arange(9), b=np.eye(3))
    return file.getvalue()


ZIPS = {
    "m.skops": skops.io.dumps(LinearRegression().fit(np.eye(3), [0, 1, 2])),
    "x.npz": npz_bytes(),
}
GOOD = {
    "m.safetensors": safetensors_bytes(),
    "m.gguf": gguf_bytes(),
    "m.onnx": matrix_model().SerializeToString(),
}
WITH_FILES = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)


@pytest.mark.parametrize("name", GOOD)
def test_files_with_tensors_are_cut_by_tensor(home: Path, name: str) -> None:
    path = write(home / name, GOOD[name])
    found = spans(path)
    assert found is not None
    assert_covers(found, len(GOOD[name]))


@pytest.mark.parametrize("name", ["m.safetensors", "m.gguf"])
def test_formats_with_a_mark_are_known_under_any_name(home: Path, name: str) -> None:
    assert spans(write(home / "blob", GOOD[name])) == spans(write(home / name, GOOD[name]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"text"),
        ("empty", b""),
        ("empty.onnx", b""),
        ("noise.onnx", b"no model at all"),
        ("cut.safetensors", GOOD["m.safetensors"][:-1]),
        ("none.safetensors", raw_safetensors({"__metadata__": {}}, b"")),
        ("cut.gguf", GOOD["m.gguf"][:200]),
    ],
)
def test_a_file_without_tensors_or_a_damaged_one_has_no_spans(home: Path, name: str, content: bytes) -> None:
    assert spans(write(home / name, content)) is None


@WITH_FILES
@given(name=st.sampled_from(sorted(GOOD)), content=st.binary(max_size=200), beginning=st.sampled_from([0, 4, 9, 40]))
def test_random_bytes_crash_nothing(home: Path, name: str, content: bytes, beginning: int) -> None:
    folder = home / "v"
    path = write(folder / name, GOOD[name][:beginning] + content)
    found = spans(path)
    if found is not None:
        assert_covers(found, path.stat().st_size)
    scan(folder)
    path.unlink()


@WITH_FILES
@given(name=st.sampled_from(sorted(GOOD)), data=st.data())
def test_damaged_files_are_covered_or_left_whole(home: Path, name: str, data: st.DataObject) -> None:
    damaged = bytearray(GOOD[name])
    # Most of what decides is at the beginning.
    places = st.one_of(st.integers(0, 400), st.integers(0, len(damaged) - 1))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(places) % len(damaged)] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(places) :]
    folder = home / "v"
    path = write(folder / name, bytes(damaged))
    found = spans(path)
    if found is not None:
        assert_covers(found, len(damaged))
    scan(folder)
    path.unlink()


@WITH_FILES
@given(name=st.sampled_from(sorted(ZIPS)), data=st.data())
def test_damaged_zips_are_let_in_or_refused(home: Path, name: str, data: st.DataObject) -> None:
    damaged = bytearray(ZIPS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = write(home / "v" / name, bytes(damaged))
    scan(path.parent)
    path.unlink()


def test_a_large_file_is_not_read_into_memory(home: Path) -> None:
    path = home / "v" / "m.safetensors"
    size = 2**30
    header = {"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    write(path, raw_safetensors(header, b""))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    tracemalloc.start()
    try:
        found = spans(path)
        assert found is not None
        assert [span.size for span in found if span.tensor] == [size]
        assert scan(path.parent).problems == ()
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
