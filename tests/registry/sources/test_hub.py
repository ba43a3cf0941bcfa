"""Models of the Hugging Face Hub: its own client, and a served copy of what it and the downloads ask for."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from modelyard.domain.errors import InvalidRequest, NotFound, Unavailable
from modelyard.registry.importing import Trust, scanned
from modelyard.registry.sources.fetching import fetch
from modelyard.registry.sources.files import Damaged
from modelyard.registry.sources.picking import Picking
from tests.registry.formats.making import safetensors_bytes
from tests.registry.sources.cutting_off import journaled, killed
from tests.registry.sources.serving import Answer, Asked, Server, of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = random.Random(10).randbytes(18 * 2**20)
FILES = {".gitattributes": b"*.bin lfs\n", "README.md": b"# pat\n", "model.onnx": LARGE, "sub/vocab.txt": b"a\nb\n"}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Hub:
    """One model, ``org/pat``: what is large is in LFS, and comes from another host."""

    def __init__(self, server: Server, files: dict[str, bytes]) -> None:
        self.server = server
        self.commit = COMMIT
        for revision in ("main", "v1", COMMIT, "refs/pr/2"):
            server.routes[f"/api/models/org/pat/revision/{revision}"] = lambda asked: self.info(files)
        server.routes["/api/models/org/pat"] = lambda asked: self.info(files)
        refused = {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id: nothing"}
        server.routes["/api/models/org/pat/revision/nothing"] = Answer(b"{}", 404, refused)
        refused = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
        server.routes["/api/models/org/nothing"] = Answer(b"{}", 401, refused)
        refused = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
        server.routes["/api/models/org/gated"] = Answer(b"{}", 403, refused)
        for path, body in files.items():
            self.serve(path, body)

    def serve(self, path: str, body: bytes) -> None:
        content = of(body, headers={"X-Repo-Commit": self.commit})
        if len(body) > 2**20:
            elsewhere = f"{self.server.url.replace('127.0.0.1', 'localhost')}/cdn/{path}?Signature=sEcReT"
            self.server.routes[f"/cdn/{path}"] = content
            content = Answer(b"", 302, {"Location": elsewhere, "X-Repo-Commit": self.commit})
        self.server.routes[f"/org/pat/resolve/{self.commit}/{path}"] = content

    def info(self, files: dict[str, bytes]) -> Answer:
        siblings = []
        for path, body in files.items():
            blob = hashlib.sha1(f"blob {len(body)}\0".encode() + body).hexdigest()
            row: dict[str, object] = {"rfilename": path, "size": len(body), "blobId": blob}
            if len(body) > 2**20:
                row["lfs"] = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest(), "pointerSize": 130}
            siblings.append(row)
        return Answer(json.dumps({"id": "org/pat", "sha": self.commit, "siblings": siblings}).encode())


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # Read from the environment when the client is imported; a child process does that anew.
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    yield Hub(server, dict(FILES))
    close_session()


def test_a_revision_is_fetched_at_the_commit_that_it_is(hub: Hub, to: Path) -> None:
    for source in ("hf://org/pat", "hf://org/pat@main", "hf://org/pat@refs/pr/2"):
        assert fetch(source, to) == f"hf://org/pat@{COMMIT}"
        assert contents(to) == FILES
    assert all(COMMIT in asked.path for asked in hub.server.log if "/resolve/" in asked.path)
    assert fetch("hf://org/pat@v1/sub", to) == f"hf://org/pat@{COMMIT}/sub"
    assert contents(to) == {"vocab.txt": b"a\nb\n"}
    fetch("hf://org/pat/README.md", to)
    assert contents(to) == {"README.md": b"# pat\n"}


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(
    hub: Hub, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    fetch("hf://org/pat", to)
    for asked in hub.server.log:
        assert ("hf_token" in asked.headers.get("authorization", "")) == (not asked.path.startswith("/cdn/"))


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("hf://org/pat@nothing", NotFound, "has no revision 'nothing'"),
        ("hf://org/nothing", NotFound, "set HF_TOKEN"),
        ("hf://org/gated", Unavailable, "let in"),
        ("hf://org/pat/nothing", NotFound, "There is nothing at hf://org/pat/nothing"),
    ],
)
def test_what_is_not_there_is_said(hub: Hub, to: Path, source: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        fetch(source, to)


@pytest.mark.parametrize("path", ["model.onnx", "README.md"])
def test_a_byte_flipped_by_the_server_is_refused(hub: Hub, to: Path, path: str) -> None:
    body = bytearray(FILES[path])
    body[len(body) // 2] ^= 1
    hub.serve(path, bytes(body))
    with pytest.raises(Damaged, match=f"{path} arrived damaged"):
        fetch("hf://org/pat", to)
    assert not (to / path).exists()
    hub.serve(path, FILES[path])
    fetch("hf://org/pat", to)
    assert contents(to) == FILES


@pytest.mark.parametrize("name", ["../up.txt", "/etc/passwd", "a//b.txt", "readme.MD", "sub", "a\\b.txt", "CON.txt"])
def test_names_that_lead_elsewhere_are_refused(server: Server, hub: Hub, home: Path, to: Path, name: str) -> None:
    Hub(server, {**FILES, name: b"x"})
    with pytest.raises(InvalidRequest):
        fetch("hf://org/pat", to)
    assert not to.exists()
    assert not list(home.rglob("up.txt"))


@pytest.mark.parametrize("after", [2**19, 8 * 2**20, 16 * 2**20])
def test_a_killed_fetch_goes_on_and_what_was_there_is_not_sent_again(hub: Hub, to: Path, after: int) -> None:
    assert killed(hub.server, "hf://org/pat", to, after)
    there, before = journaled(to), hub.server.sent
    assert there >= after - 12 * 2**20, "the rest was still on its way"
    fetch("hf://org/pat", to)
    assert contents(to) == FILES
    info = len(hub.info(FILES).body)
    assert hub.server.sent - before == sum(map(len, FILES.values())) - there + info


def test_a_branch_that_has_moved_brings_what_is_new_and_only_that(server: Server, hub: Hub, to: Path) -> None:
    fetch("hf://org/pat", to)
    newer = Hub(server, {k: v for k, v in FILES.items() if k != "sub/vocab.txt"} | {"README.md": b"# new\n"})
    newer.commit = COMMIT[::-1]
    for path in ("README.md", "model.onnx", ".gitattributes"):
        newer.serve(path, {**FILES, "README.md": b"# new\n"}[path])
    sent = server.sent
    assert fetch("hf://org/pat", to) == f"hf://org/pat@{COMMIT[::-1]}"
    assert contents(to) == {k: v for k, v in FILES.items() if k != "sub/vocab.txt"} | {"README.md": b"# new\n"}
    assert server.sent - sent < 2**16, "what is large is the same"


def test_a_pickle_beside_the_weights_is_refused_until_it_is_left_out(server: Server, hub: Hub, to: Path) -> None:
    files = {"model.safetensors": safetensors_bytes(), "pytorch_model.bin": pickle.dumps({"w": 1})}
    Hub(server, {".gitattributes": b"*.bin lfs\n", **files})
    fetch("hf://org/pat", to)
    with pytest.raises(InvalidRequest, match=r"pytorch_model\.bin"):
        scanned(to, Trust())
    picking = Picking(exclude=("*.bin",))
    before = server.gets()
    fetch("hf://org/pat", to, picking)
    assert [file.path.name for file in scanned(to, Trust(), picking=picking).found] == [
        ".gitattributes",
        "model.safetensors",
    ]
    assert not [path for path in server.gets() - before if path.endswith(".bin")]


def test_without_its_client_it_is_said_how_to_get_it(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(Unavailable, match=r"pip install 'modelyard\[hf\]'"):
        fetch("hf://org/pat", to)


def test_a_server_that_says_names_only_is_believed_as_any_other(server: Server, hub: Hub, to: Path) -> None:
    def names(asked: Asked) -> Answer:
        return Answer(json.dumps({"id": "org/pat", "sha": COMMIT, "siblings": [{"rfilename": "README.md"}]}).encode())

    server.routes["/api/models/org/pat"] = names
    fetch("hf://org/pat", to)
    assert contents(to) == {"README.md": b"# pat\n"}
