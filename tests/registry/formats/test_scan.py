"""Folders with everything that a version may hold, and with one thing that it may not."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
import skops.io
from sklearn.linear_model import LinearRegression

from modelyard.protobuf import encoded_field
from modelyard.registry.formats.scan import Kind, scan
from tests.registry.formats.making import (
    gguf_bytes,
    kinds,
    matrix_model,
    only,
    raw_safetensors,
    safetensors_bytes,
    write,
)

EVIL = b"cos\nsystem\n(S'id'\ntR."


class Unknown:
    pass


def npy(array: Any, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        for name, data in members.items():
            content.writestr(name, data)
    return file.getvalue()


def test_everything_that_a_version_may_hold_is_known(folder: Path) -> None:
    estimator = LinearRegression().fit(np.eye(4), [0, 1, 0, 1])
    write(folder / "weights" / "m.safetensors", safetensors_bytes())
    write(folder / "m.gguf", gguf_bytes())
    write(folder / "m.skops", skops.io.dumps(estimator))
    write(folder / "x.npy", npy(np.arange(6).reshape(2, 3)))
    write(folder / "x.npz", zipped(**{"a.npy": npy(np.arange(3)), "b.npy": npy(np.array(["x", "y"]))}))
    write(folder / "tokenizer.model", encoded_field(1, encoded_field(1, b"piece")) + encoded_field(2, b""))
    write(folder / "config.json", b'{"a": "\xc3\xa4"}')
    write(folder / "data.csv", b"a,b\r\n1,2\r\n")
    write(folder / "MLmodel", b"flavors: {}\n")
    write(folder / "empty.txt", b"")
    write(folder / "logo.PNG", b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    (folder / "m").mkdir()
    onnx.save_model(
        matrix_model(),
        str(folder / "m" / "m.onnx"),
        save_as_external_data=True,
        location="m.onnx.data",
        size_threshold=0,
    )
    report = scan(folder)
    assert report.problems == ()
    assert kinds(report) == {
        "MLmodel": Kind.PLAIN,
        "README.md": Kind.PLAIN,
        "config.json": Kind.PLAIN,
        "data.csv": Kind.PLAIN,
        "empty.txt": Kind.PLAIN,
        "logo.PNG": Kind.PLAIN,
        "m.gguf": Kind.GGUF,
        "m.skops": Kind.SKOPS,
        "m/m.onnx": Kind.ONNX,
        "m/m.onnx.data": Kind.ONNX_DATA,
        "tokenizer.model": Kind.PLAIN,
        "weights/m.safetensors": Kind.SAFETENSORS,
        "x.npy": Kind.PLAIN,
        "x.npz": Kind.PLAIN,
    }
    assert {file.path: file.size for file in report.files}[PurePosixPath("README.md")] == 10


def test_a_single_file_is_a_version_too(home: Path) -> None:
    path = write(home / "m.gguf", gguf_bytes())
    assert kinds(scan(path)) == {"m.gguf": Kind.GGUF}
    (home / "latest.gguf").symlink_to(path)
    assert kinds(scan(home / "latest.gguf")) == {"latest.gguf": Kind.GGUF}


def test_nothing_to_scan_is_the_callers_error(home: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan(home / "none")


def torch_zip(*names: str) -> bytes:
    return zipped(**dict.fromkeys(names, b"content"))


def tarred(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def joblib_bytes(thing: object, **options: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(thing, file, **options)
    return file.getvalue()


PICKLES: dict[str, bytes] = {
    "model.pkl": pickle.dumps(LinearRegression()),
    "model.joblib": joblib_bytes(LinearRegression()),
    "model.joblib.gz": joblib_bytes(LinearRegression(), compress=("gzip", 3)),
    "model.z": joblib_bytes(LinearRegression(), compress=("zlib", 3)),
    "model.bz2": joblib_bytes(LinearRegression(), compress=("bz2", 3)),
    "model.xz": joblib_bytes(LinearRegression(), compress=("xz", 3)),
    "model.safetensors": pickle.dumps(LinearRegression()),
    "model.onnx": pickle.dumps(LinearRegression()),
    "model.gguf": pickle.dumps(LinearRegression()),
    "model.skops": pickle.dumps(LinearRegression()),
    "config.json": pickle.dumps(LinearRegression(), 0),
    "notes.txt": EVIL,
    "model.bin": pickle.dumps([1, 2, 3]),
    "model.pt": torch_zip("archive/data.pkl", "archive/version", "archive/data/0"),
    "pytorch_model.bin": torch_zip("archive/data.pkl"),
    "x.npy": npy(np.array([Unknown()]), allow_pickle=True),
    "x.npz": zipped(**{"a.npy": npy(np.array([Unknown()]), allow_pickle=True)}),
    "fields.npy": npy(np.zeros(1, [("a", int), ("b", [("c", object)])]), allow_pickle=True),
    "arrays.skops": zipped(**{"schema.json": b"{}", "1.npy": npy(np.array([Unknown()]), allow_pickle=True)}),
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_is_refused_under_any_name_unless_the_version_is_trusted(folder: Path, name: str) -> None:
    write(folder / "a" / name, PICKLES[name])
    report = scan(folder)
    problem = only(report)
    assert (problem.path, problem.code) == (f"a/{name}", "pickle_refused")
    assert "safetensors" in problem.message
    assert kinds(report)[f"a/{name}"] is Kind.PICKLE
    assert scan(folder, allow_pickle=True).problems == ()


def test_a_good_model_that_is_a_pickle_as_well_is_refused(folder: Path) -> None:
    # A version number, then a doc string: MARK, LIST, DUP, and SHORT_BINSTRING of no bytes, to an unpickler.
    call = b"\0cbuiltins\nlen\n(S'id'\ntR."
    content = b"\x28\x6c\x32\x55" + call.ljust(0x55) + matrix_model().SerializeToString()
    assert onnx.load_from_string(content).doc_string.encode().startswith(call)
    assert pickle.loads(content) == 2
    write(folder / "m.onnx", content)
    assert only(scan(folder)).code == "pickle_refused"


PROGRAMS: dict[str, bytes] = {
    "scripted.pt": torch_zip("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py", "m/version"),
    "model.keras": torch_zip("config.json", "metadata.json", "model.weights.h5"),
    "model.h5": b"\x89HDF\r\n\x1a\n" + b'{"class_name": "Lambda"}',
    "saved_model.pb": b"\x08\x01\x12\x00",
    "saved_model.pbtxt": b"saved_model_schema_version: 1\n",
    "conda.yaml": b"a: !!python/object/apply:os.system [id]\n",
    "tag.yml": b"a: !<tag:yaml.org,2002:python/name:os.system> x\n",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_model_saved_with_its_code_is_refused_unless_the_version_is_trusted(folder: Path, name: str) -> None:
    write(folder / name, PROGRAMS[name])
    report = scan(folder)
    assert (only(report).path, only(report).code) == (name, "program_refused")
    assert kinds(report)[name] is Kind.PROGRAM
    assert scan(folder, allow_code=True).problems == report.problems
    assert scan(folder, allow_pickle=True).problems == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [("model.py", b"def load(): ...\n"), ("run.SH", b"echo\n"), ("n.ipynb", b"{}"), ("start", b"#!/bin/sh\n")],
)
def test_source_code_is_let_in_only_where_it_is_asked_for(folder: Path, name: str, content: bytes) -> None:
    write(folder / name, content)
    report = scan(folder)
    assert (only(report).code, kinds(report)[name]) == ("code_refused", Kind.PYTHON)
    assert scan(folder, allow_pickle=True).problems == report.problems
    assert scan(folder, allow_code=True).problems == ()


def test_source_code_that_is_no_text_is_refused_even_where_code_is_allowed(folder: Path) -> None:
    write(folder / "model.py", b"\x00\xff")
    assert only(scan(folder, allow_code=True, allow_pickle=True)).code == "unknown_format"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.zip", zipped(**{"a.txt": b"a"}), "archive"),
        ("a.tar", tarred("a.txt", b"a"), "archive"),
        ("a.tar.gz", gzip.compress(tarred("a.txt", b"a")), "archive"),
        ("a.zst", b"\x28\xb5\x2f\xfd\x00", "archive"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c", "archive"),
        ("lib.so", b"\x7fELF\x02\x01\x01", "unknown_format"),
        ("a.exe", b"MZ\x90\x00", "unknown_format"),
        ("weights.bin", bytes(100), "unknown_format"),
        ("noise", bytes(100), "unknown_format"),
        ("page.html", b"<script>", "unknown_format"),
        ("m.bin", safetensors_bytes(), "unknown_format"),
        ("gguf.bin", gguf_bytes(), "unknown_format"),
        ("m.pkl", b"nothing of the kind", "unknown_format"),
        ("m.pth", b"import os\n", "unknown_format"),
        ("binary.json", b'{"a": "\x00"}', "unknown_format"),
        ("latin.csv", "größe".encode("latin-1"), "unknown_format"),
        ("cut.txt", "ü".encode()[:1], "unknown_format"),
        ("logo.png", b"GIF89a", "unknown_format"),
        ("xgboost.model", b"binf\0\0", "unknown_format"),
        ("list.model", encoded_field(9, b"x"), "unknown_format"),
        ("m.safetensors", safetensors_bytes()[:-1], "damaged_file"),
        ("m.safetensors", safetensors_bytes() + b"\0", "damaged_file"),
        ("m.safetensors", b"", "damaged_file"),
        ("m.onnx", matrix_model().SerializeToString()[:-9], "damaged_file"),
        ("m.gguf", gguf_bytes()[:-150], "damaged_file"),
        ("m.skops", b"no zip", "damaged_file"),
        ("m.skops", zipped(**{"1.npy": npy(np.arange(3))}), "damaged_file"),
        ("m.skops", zipped(**{"schema.json": b"{}"}), "damaged_file"),
        ("m.skops", zipped(**{"schema.json": b"[" * 100_000}), "damaged_file"),
        ("m.skops", zipped(**{"schema.json": b"{}", "evil.py": b""}), "damaged_file"),
        ("x.npy", npy(np.arange(9))[:-1], "damaged_file"),
        ("x.npy", npy(np.arange(9)) + b"more", "damaged_file"),
        ("x.npy", b"\x93NUMPY\x01\x00\xff\xff{", "damaged_file"),
        ("x.npy", b"\x93NUMPY\x09\x00", "damaged_file"),
        ("x.npz", zipped(**{"a.txt": b"a"}), "damaged_file"),
        ("x.npz", zipped(**{"a.npy": b"a"}), "damaged_file"),
    ],
)
def test_what_is_not_known_is_refused_whoever_trusts_the_version(
    folder: Path, name: str, content: bytes, code: str
) -> None:
    write(folder / name, content)
    problem = only(scan(folder, allow_code=True, allow_pickle=True))
    assert (problem.path, problem.code) == (name, code)


@pytest.mark.parametrize("name", ["m.safetensors", "m.gguf", "m.npy"])
def test_a_file_that_can_be_read_as_a_zip_as_well_is_refused(folder: Path, name: str) -> None:
    hidden = zipped(**{"archive/data.pkl": EVIL})
    header = {"w": {"dtype": "U8", "shape": [len(hidden)], "data_offsets": [0, len(hidden)]}}
    content = {
        "m.safetensors": raw_safetensors(header, hidden),
        "m.gguf": gguf_bytes() + hidden,
        "m.npy": npy(np.frombuffer(hidden, np.uint8)),
    }[name]
    write(folder / name, content)
    assert only(scan(folder)).code == "two_formats"


def test_skops_with_types_that_skops_does_not_know_is_refused_unless_the_version_is_trusted(folder: Path) -> None:
    write(folder / "m.skops", skops.io.dumps({"a": Unknown()}))
    problem = only(scan(folder))
    assert problem.code == "untrusted_types"
    assert "Unknown" in problem.message
    assert scan(folder, allow_pickle=True).problems == ()


def test_a_bomb_in_skops_is_refused_unread(folder: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("schema.json", b"{}")
        content.writestr("1.npy", bytes(2**27))
    write(folder / "m.skops", file.getvalue())
    assert "times its size" in only(scan(folder)).message


def external_model(location: str, length: int = 64) -> bytes:
    model = matrix_model()
    w1 = model.graph.initializer[0]
    w1.ClearField("raw_data")
    w1.data_location = onnx.TensorProto.EXTERNAL
    w1.external_data.add(key="location", value=location)
    w1.external_data.add(key="length", value=str(length))
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("w.bin", "missing_file"),
        ("", "path_escape"),
        ("../README.md", "path_escape"),
        ("/etc/hostname", "path_escape"),
        ("a/../../w", "path_escape"),
    ],
)
def test_a_model_that_names_weights_that_are_not_its_own_is_refused(folder: Path, location: str, code: str) -> None:
    write(folder / "m" / "m.onnx", external_model(location))
    problem = only(scan(folder))
    assert (problem.path, problem.code) == ("m/m.onnx", code)


def test_weights_that_are_shorter_than_their_model_says_are_refused(folder: Path) -> None:
    write(folder / "m.onnx", external_model("w.bin", 64))
    write(folder / "w.bin", bytes(63))
    assert only(scan(folder)).code == "damaged_file"
    write(folder / "w.bin", bytes(64))
    assert scan(folder).problems == ()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("model.py", b"import os\n", "code_refused"),
        ("w.bin", EVIL, "pickle_refused"),
        ("w.bin", torch_zip("a/data.pkl"), "two_formats"),
        ("w.pkl", b"no pickle, but a loader might try", "unknown_format"),
        ("w.npy", b"no array, but a loader might try", "damaged_file"),
        ("lib.so", b"a library", "unknown_format"),
        ("lib.so.1", b"\x7fELF\x02", "unknown_format"),
        ("w.zip", zipped(a=b""), "archive"),
    ],
)
def test_a_models_naming_it_makes_no_weights_of_a_file_that_is_something_else(
    folder: Path, name: str, content: bytes, code: str
) -> None:
    write(folder / "m.onnx", external_model(name, 1))
    write(folder / name, content)
    assert (only(scan(folder)).path, only(scan(folder)).code) == (name, code)


def test_weights_may_have_a_name_without_suffix_or_with_that_of_text(folder: Path) -> None:
    for name in ("onnx__MatMul_1", "w.dict"):
        write(folder / f"{name}.onnx", external_model(name))
        write(folder / name, bytes(range(64)))
    assert scan(folder).problems == ()


def test_all_problems_are_told_at_once(folder: Path) -> None:
    write(folder / "a.pkl", PICKLES["model.pkl"])
    write(folder / "b.py", b"")
    write(folder / "c:d", b"")
    write(folder / "e.zip", zipped(a=b""))
    codes = [problem.code for problem in scan(folder).problems]
    assert codes == ["pickle_refused", "code_refused", "path_escape", "archive"]
