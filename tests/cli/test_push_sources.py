"""Versions pushed from elsewhere than this machine's files, with a real Modelyard and served sources."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import re
import shutil
import signal
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.yard import Yard
from tests.registry.content.making import chain
from tests.registry.formats.making import safetensors_bytes, tensor
from tests.registry.sources.serving import Answer, Server, of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def model(factor: float, size: int = 64) -> bytes:
    rows = np.eye(size) * factor + np.random.default_rng(1).normal(size=(size, size))
    return bytes(onnx.ModelProto.SerializeToString(chain(tensor("w", rows.astype(np.float32)))))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server().running() as running:
        yield running


@pytest.fixture
def cache(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield folder / "modelyard" / "fetching"
    shutil.rmtree(folder, ignore_errors=True)


def test_a_file_of_the_web_is_fetched_pushed_and_where_it_came_from_kept(
    yard: Yard, server: Server, cache: Path, tmp_path: Path
) -> None:
    body = model(2)
    server.routes["/m/model.onnx"] = of(body)
    said = yard.ok("push", f"{server.url}/m/model.onnx?sig=sEcReT", "fromweb@1.0.0")
    assert "fromweb@1.0.0 is published: " in said
    shown = yard.json("registry", "show", "fromweb@1.0.0")
    assert shown["lineage"]["source"] == f"{server.url}/m/model.onnx#etag={hashlib.md5(body).hexdigest()}"
    assert re.search(r"\nSource +http://127", yard.ok("registry", "show", "fromweb@1.0.0"))
    assert list(cache.iterdir()) == [], "what was fetched is in the store now"
    # The same bytes from elsewhere mend a version, which goes on saying where it came from.
    (tmp_path / "model.onnx").write_bytes(body)
    assert yard.json("push", str(tmp_path / "model.onnx"), "fromweb@1.0.0")["lineage"] == shown["lineage"]
    local = yard.json("push", str(tmp_path / "model.onnx"), "fromweb@1.1.0")
    assert local["lineage"]["source"] == "", "nothing is said of this machine"


def test_what_is_said_of_the_source_can_be_told_otherwise(yard: Yard, server: Server, cache: Path) -> None:
    server.routes["/model.onnx"] = of(model(4))
    told = yard.json("push", f"{server.url}/model.onnx", "told@1.1.0", "--source", "the attic")
    assert told["lineage"]["source"] == "the attic"
    refused = yard.run("push", f"{server.url}/model.onnx", "told@1.2.0", "--source", "https://me:pw@host/")
    assert refused.returncode == 2
    assert "no password" in refused.stderr


def test_an_archive_of_the_web_is_unpacked_and_judged_like_any_other(yard: Yard, server: Server, cache: Path) -> None:
    def packed(files: dict[str, bytes]) -> bytes:
        into = io.BytesIO()
        with tarfile.open(fileobj=into, mode="w:gz") as archive:
            for path, body in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(body)
                archive.addfile(member, io.BytesIO(body))
        return into.getvalue()

    server.routes["/m.tar.gz"] = of(packed({"model.onnx": model(5), "about.txt": b"hello\n"}))
    yard.ok("push", f"{server.url}/m.tar.gz", "unpacked@1.0.0")
    assert yard.json("registry", "show", "unpacked@1.0.0")["files"] == 2
    server.routes["/bad.tar.gz"] = of(packed({"../up.txt": b"x", "weights.pkl": pickle.dumps({"a": 1})}))
    refused = yard.run("push", f"{server.url}/bad.tar.gz", "unpacked@1.1.0")
    assert refused.returncode == 7
    assert "../up.txt: Its name leads out" in refused.stderr


def hub(server: Server, files: dict[str, bytes]) -> None:
    rows = []
    for path, body in files.items():
        blob = hashlib.sha1(f"blob {len(body)}\0".encode() + body).hexdigest()
        rows.append({"rfilename": path, "size": len(body), "blobId": blob})
        server.routes[f"/org/pat/resolve/{COMMIT}/{path}"] = of(body)
    info = json.dumps({"id": "org/pat", "sha": COMMIT, "siblings": rows}).encode()
    server.routes["/api/models/org/pat/revision/main"] = Answer(info)


def test_a_pickle_beside_the_weights_is_refused_and_said_how_to_leave_out(
    yard: Yard, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    files = {"README.md": b"# pat\n", "model.safetensors": safetensors_bytes()}
    hub(server, files | {"pytorch_model.bin": pickle.dumps({"w": 1})})
    refused = yard.run("push", "hf://org/pat@main", "hubbed@1.0.0")
    assert refused.returncode == 7
    assert re.search(r"pytorch_model\.bin: It is a pickle.*\n(.*\n)*.*--exclude PATTERN", refused.stderr)
    before = server.gets()
    said = yard.ok("push", "hf://org/pat@main", "hubbed@1.0.0", "--exclude", "*.bin")
    assert "Left out: pytorch_model.bin" in said
    shown = yard.json("registry", "show", "hubbed@1.0.0")
    assert (shown["files"], shown["lineage"]["source"]) == (2, f"hf://org/pat@{COMMIT}")
    assert not [path for path in server.gets() - before if path.endswith((".md", ".safetensors"))], "they were there"


def test_files_of_this_machine_are_left_out_too(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.onnx").write_bytes(model(6))
    (tmp_path / "m" / "weights.pkl").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "m" / "link").symlink_to("model.onnx")
    said = yard.ok("push", (tmp_path / "m").as_uri(), "picked@1.0.0", "--exclude", "*.pkl", "--exclude", "link")
    assert "Left out: link, weights.pkl" in said
    assert yard.json("registry", "show", "picked@1.0.0")["files"] == 1
    refused = yard.run("push", str(tmp_path / "m"), "picked@1.1.0", "--include", "*.txt")
    assert "There is no file in it" in refused.stderr


def test_what_is_wrong_with_a_source_is_said_before_anything_is_asked(yard: Yard) -> None:
    refused = yard.run("push", "ftp://host/a", "nowhere@1.0.0")
    assert refused.returncode == 7
    assert "There is no scheme ftp://" in refused.stderr
    missing = yard.run("push", "mlflow://models/pat/1", "nowhere@1.0.0")
    assert (missing.returncode, "MLFLOW_TRACKING_URI is not set" in missing.stderr) == (1, True)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_push_that_is_cut_off_goes_on_where_it_was(
    yard: Yard, server: Server, cache: Path, how: signal.Signals
) -> None:
    body = random.Random(int(how)).randbytes(12 * 2**20).hex().encode()
    server.routes["/large.txt"] = of(body)
    name = f"cut-{how.name.lower()}"
    pushing = yard.begin("push", f"{server.url}/large.txt", f"{name}@1.0.0")

    def sending(sent: int) -> None:
        if sent > 18 * 2**20:
            os.kill(pushing.pid, how)
            server.sending = lambda sent: None
            raise ConnectionError

    server.sending = sending
    output, _ = pushing.communicate(timeout=60)
    if how is signal.SIGINT:
        assert pushing.returncode == 130, output
        assert "Interrupted. Run it again: it goes on where it was.\n" in output
    assert pushing.returncode != 0, output
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1
    before = server.sent
    said = yard.ok("push", f"{server.url}/large.txt", f"{name}@1.0.0")
    assert "all of it new" in said
    assert server.sent - before < len(body) - 4 * 2**20
    assert list(cache.iterdir()) == []


def test_a_version_of_another_registry_is_taken_over(yard: Yard, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model(7))
    yard.ok("push", str(tmp_path / "model.onnx"), "given@1.2.0", "--alias", "stable")
    token = (yard.home / "admin.token").read_text().strip()
    place = f"127.0.0.1:{yard.port}"
    source = f"registry://{place}/given@stable"
    done = yard.run("push", source, "taken-over@1.0.0", MODELYARD_SOURCE_TOKEN=f"other:1=x, {place}={token}")
    assert done.returncode == 0, done.stderr
    given, taken = (yard.json("registry", "show", one) for one in ("given@1.2.0", "taken-over@1.0.0"))
    assert given["manifest"] == taken["manifest"]
    assert taken["lineage"]["source"] == f"registry://127.0.0.1:{yard.port}/given@1.2.0"
    refused = yard.run("push", source, "taken-over@1.1.0", MODELYARD_SOURCE_TOKEN=f"{place}=wrong")
    assert "MODELYARD_SOURCE_TOKEN" in refused.stderr
    assert "wrong" not in refused.stderr
    unbound = yard.run("push", source, "taken-over@1.1.0", MODELYARD_SOURCE_TOKEN=token)
    assert f"does not say to whom it goes: write {place}=TOKEN" in unbound.stderr
    assert token not in unbound.stderr
