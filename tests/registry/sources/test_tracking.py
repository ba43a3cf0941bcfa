"""Models and runs of MLflow: its own client, against what MLflow 3.17's server answers to what that asks."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from modelyard.domain.errors import InvalidRequest, ModelyardError, NotFound, Unavailable
from modelyard.registry.admitting import Hosts
from modelyard.registry.sources.fetching import fetch
from modelyard.registry.sources.files import Damaged
from modelyard.registry.sources.picking import Picking
from tests.registry.sources.cutting_off import killed
from tests.registry.sources.serving import Answer, Asked, Server, serve_bucket

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
LARGE = random.Random(9).randbytes(4 * 2**20)
FILES = {"MLmodel": b"flavors: {}\n", "model.onnx": LARGE, "sub/vocab.txt": b"a\nb\n"}
RUN = "9fe1261534794a609e32fea41107902f"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def said(value: object, status: int = 200) -> Answer:
    return Answer(json.dumps(value).encode(), status, {"Content-Type": "application/json"})


class Tracking:
    """Two versions of ``pat``, of one run's artifacts."""

    def __init__(self, server: Server) -> None:
        self.server, self.files, self.champion = server, dict(FILES), "1"
        self.uri = f"mlflow-artifacts:/1/{RUN}/artifacts"
        server.routes[f"{API}/registered-models/alias"] = self.alias
        server.routes[f"{API}/registered-models/get"] = said({"registered_model": {"name": "pat"}})
        server.routes[f"{API}/model-versions/get-download-uri"] = self.download
        server.routes[f"{API}/runs/get"] = lambda asked: said(
            {"run": {"info": {"run_id": RUN, "run_uuid": RUN, "artifact_uri": self.uri}, "data": {}}}
        )
        server.routes[ARTIFACTS] = self.listed
        for path in FILES:
            server.routes[f"{ARTIFACTS}/1/{RUN}/artifacts/model/{path}"] = lambda asked: Answer(
                self.files[asked.path.partition("/artifacts/model/")[2]]
            )

    def alias(self, asked: Asked) -> Answer:
        if "champion" not in asked.query:
            return said({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "alias not found."}, 404)
        return said({"model_version": {"name": "pat", "version": self.champion, "run_id": RUN, "status": "READY"}})

    def download(self, asked: Asked) -> Answer:
        if not re.search(r"version=[12]\b", asked.query):
            return said({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Model Version not found"}, 404)
        return said({"artifact_uri": f"{self.uri}/model"})

    def listed(self, asked: Asked) -> Answer:
        """Folders and files of one level, as the server lists them."""
        root = parse_qs(asked.query)["path"][0].partition("/artifacts")[2].strip("/")
        rows: dict[str, dict[str, object]] = {}
        for path, body in ((f"model/{path}", body) for path, body in self.files.items()):
            if path.startswith(f"{root}/") or not root:
                name, slash, _ = path[len(root) :].lstrip("/").partition("/")
                rows[name] = {"path": name, "is_dir": bool(slash), **({} if slash else {"file_size": len(body)})}
        return said({"files": list(rows.values())} if rows else {})


@pytest.fixture
def mlflow(server: Server, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    return Tracking(server)


def test_versions_aliases_and_runs_are_fetched(mlflow: Tracking, to: Path) -> None:
    told: list[tuple[int, int]] = []
    tell = lambda there, total: told.append((there, total))  # noqa: E731
    assert fetch("mlflow://models/pat/2", to, progress=tell) == "mlflow://models/pat/2"
    assert contents(to) == FILES
    assert told[-1] == (sum(map(len, FILES.values())),) * 2
    assert fetch("mlflow://models/pat@champion", to) == "mlflow://models/pat/1", "which version the alias means now"
    assert fetch(f"mlflow://runs/{RUN}/model", to) == f"mlflow://runs/{RUN}/model"
    assert contents(to) == FILES
    fetch(f"mlflow://runs/{RUN}/model/sub", to)
    assert contents(to) == {"vocab.txt": b"a\nb\n"}
    fetch(f"mlflow://runs/{RUN}/model/sub/vocab.txt", to)
    assert contents(to) == {"vocab.txt": b"a\nb\n"}
    fetch("mlflow://models/pat/2", to, Picking(include=("*.onnx",)))
    assert contents(to) == {"model.onnx": LARGE}


@pytest.mark.parametrize(
    "source", ["mlflow://models/pat/7", "mlflow://models/pat@none", f"mlflow://runs/{RUN}/nothing"]
)
def test_what_is_not_there_is_said(mlflow: Tracking, to: Path, source: str) -> None:
    with pytest.raises(NotFound, match=source):
        fetch(source, to)


def test_what_mlflow_keeps_in_a_bucket_is_read_there(
    mlflow: Tracking, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ENDPOINT_URL", mlflow.server.url), ("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "key")):
        monkeypatch.setenv(f"AWS_{name}", value)
    serve_bucket(mlflow.server, {f"runs/1/model/{path}": body for path, body in FILES.items()})
    mlflow.uri = "s3://shelf/runs/1"
    for source in ("mlflow://models/pat/1", f"mlflow://runs/{RUN}/model"):
        assert fetch(source, to) == source
        assert contents(to) == FILES


def test_without_an_address_of_mlflow_nothing_is_guessed(to: Path) -> None:
    with pytest.raises(Unavailable, match="MLFLOW_TRACKING_URI is not set"):
        fetch("mlflow://models/pat/1", to)


@pytest.mark.parametrize("name", ["../../up.txt", "/etc/passwd", "a\\b.txt", "mlmodel", "NUL", "..%2f..%2fup.txt"])
def test_names_that_lead_elsewhere_are_refused(mlflow: Tracking, home: Path, to: Path, name: str) -> None:
    mlflow.files[name] = b"x"
    if "/" in name:
        mlflow.server.routes[ARTIFACTS] = said({"files": [{"path": name, "is_dir": False, "file_size": 1}]})
    with pytest.raises(ModelyardError) as caught:
        fetch("mlflow://models/pat/1", to)
    assert isinstance(caught.value, (InvalidRequest, Unavailable))
    assert not list(home.rglob("up.txt"))


def test_a_file_that_arrives_shorter_than_listed_is_refused(mlflow: Tracking, to: Path) -> None:
    mlflow.server.routes[f"{ARTIFACTS}/1/{RUN}/artifacts/model/MLmodel"] = Answer(b"flav")
    with pytest.raises(Damaged, match="4 bytes of 12"):
        fetch("mlflow://models/pat/1", to)


def test_what_progress_raises_ends_the_fetch(mlflow: Tracking, to: Path) -> None:
    class Enough(Exception):
        pass

    def stop(there: int, total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        fetch("mlflow://models/pat/1", to, progress=stop)


def test_a_killed_fetch_goes_on_with_the_files_that_are_not_there_yet(mlflow: Tracking, to: Path) -> None:
    route = mlflow.server.routes[f"{ARTIFACTS}/1/{RUN}/artifacts/model/model.onnx"]
    assert killed(mlflow.server, "mlflow://models/pat/1", to, 3 * 2**20)
    there = contents(to)
    before = mlflow.server.gets()
    assert callable(route)
    fetch("mlflow://models/pat/1", to)
    assert contents(to) == FILES
    again = mlflow.server.gets() - before
    assert {
        path for path in FILES if again[f"{ARTIFACTS}/1/{RUN}/artifacts/model/{path}"]
    } == FILES.keys() - there.keys()


def test_an_alias_that_means_another_version_by_now_begins_anew(mlflow: Tracking, to: Path) -> None:
    fetch("mlflow://models/pat@champion", to)
    mlflow.files["MLmodel"], mlflow.champion = b"flavors: []\n", "2"
    fetch("mlflow://models/pat@champion", to)
    assert contents(to)["MLmodel"] == b"flavors: []\n", "of the same size, and of another version"


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc",
        "/etc",
        "http://169.254.169.254/latest",
        "http://127.0.0.2:1/x",
        "mlflow-artifacts://169.254.169.254/1",
        "ftp://host.invalid/x",
        "dbfs:/x",
        "wasbs://box@evil.invalid/x",
        "wasbs://box@evil.invalid#.blob.core.windows.net/x",
        "http://[broken/x",
    ],
)
def test_a_run_that_says_its_files_are_elsewhere_leads_no_caller_there(mlflow: Tracking, to: Path, uri: str) -> None:
    mlflow.uri = uri
    for source in ("mlflow://models/pat/1", f"mlflow://runs/{RUN}/passwd"):
        with pytest.raises(InvalidRequest) as caught:
            fetch(source, to, hosts=Hosts())
        assert [problem.code for problem in caught.value.problems] == ["source_refused"]
    assert not to.exists()


def test_a_run_of_a_run_leads_no_caller_there_either(mlflow: Tracking, to: Path) -> None:
    mlflow.uri = "file:///etc"
    mlflow.server.routes[f"{API}/model-versions/get-download-uri"] = said({"artifact_uri": f"runs:/{RUN}/model"})
    with pytest.raises(InvalidRequest, match="file:"):
        fetch("mlflow://models/pat/1", to, hosts=Hosts())


def test_what_mlflow_serves_itself_is_read_for_callers_and_what_is_named(mlflow: Tracking, to: Path) -> None:
    assert fetch("mlflow://models/pat/1", to, hosts=Hosts()) == "mlflow://models/pat/1"
    assert contents(to) == FILES
    mlflow.uri = "http://localhost:1/api/2.0/mlflow-artifacts/artifacts/1"
    with pytest.raises(Unavailable):
        fetch("mlflow://models/pat/2", to, hosts=Hosts(named=frozenset({"localhost"})))


def test_users_read_what_mlflow_keeps_on_their_machine(mlflow: Tracking, home: Path, to: Path) -> None:
    (home / "kept" / "model").mkdir(parents=True)
    (home / "kept" / "model" / "a.txt").write_text("a")
    mlflow.uri = (home / "kept").as_uri()
    fetch("mlflow://models/pat/1", to)
    assert contents(to) == {"a.txt": b"a"}
