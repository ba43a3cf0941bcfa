"""The SDK by itself, against a transport that answers what a test says."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import httpx2
import numpy as np
import pytest

import modelyard.client
from modelyard.client import (
    AsyncModelyard,
    InvalidRequest,
    Modelyard,
    ModelyardError,
    NotFound,
    NotRunning,
    OperationFailed,
    Prediction,
    Refused,
    ServerError,
    TimedOut,
    Unreachable,
    VersionConflict,
    aio,
    aio_bulk,
    aio_models,
    aio_registry,
    aio_signing,
    aio_transfers,
    sync,
    sync_bulk,
    sync_models,
    sync_registry,
    sync_signing,
    sync_transfers,
)
from modelyard.client.locate import locate
from modelyard.supervisor.processes import identify

NOW = "2026-11-01T12:00:00Z"
OPERATION = {
    "id": "op-1", "kind": "start", "namespace": "default", "model": "m", "state": "running", "done": False,
    "created_at": NOW, "updated_at": NOW, "steps": [], "future_field": 1,
}  # fmt: skip
DONE = {**OPERATION, "state": "succeeded", "done": True}
METADATA = {
    "name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}  # fmt: skip

Handler = Callable[[httpx2.Request], httpx2.Response]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Retries do not wait, and nothing of this machine is found."""
    monkeypatch.setattr(sync.time, "sleep", lambda _: None)
    for name in ("URL", "TOKEN", "PORT"):
        monkeypatch.delenv(f"MODELYARD_{name}", raising=False)
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def yard(handler: Handler) -> Modelyard:
    return Modelyard("http://yard", "secret", transport=httpx2.MockTransport(handler))


def answers(*responses: httpx2.Response | Exception) -> tuple[Handler, list[httpx2.Request]]:
    """A handler that gives these one after another, and the requests that it has seen."""
    seen: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        response = responses[len(seen)]
        seen.append(request)
        if isinstance(response, Exception):
            raise response
        return response

    return handle, seen


def problem(status: int, code: str = "some_code", **extra: object) -> httpx2.Response:
    body = {"status": status, "code": code, "detail": "Because.", "request_id": "r1", **extra}
    return httpx2.Response(status, json=body)


def test_what_is_exported_exists_and_the_error_tree_is_what_the_docstring_draws() -> None:
    for name in modelyard.client.__all__:
        assert hasattr(modelyard.client, name)
    drawn = modelyard.client.errors.__doc__ or ""
    for kind in (NotRunning, Unreachable, TimedOut, OperationFailed, InvalidRequest, NotFound, Refused, ServerError):
        assert issubclass(kind, ModelyardError)
        assert kind.__name__ in drawn


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    for one, other in (
        (sync.Modelyard, aio.AsyncModelyard), (sync_models.Models, aio_models.AsyncModels),
        (sync_registry.Registry, aio_registry.AsyncRegistry), (sync.Operations, aio.AsyncOperations),
        (sync.Namespaces, aio.AsyncNamespaces), (sync_signing.Keys, aio_signing.AsyncKeys),
        (sync_transfers.Transfers, aio_transfers.AsyncTransfers), (sync_bulk.Bulk, aio_bulk.AsyncBulk),
    ):  # fmt: skip
        methods = {name: m for name, m in vars(one).items() if inspect.isfunction(m) and not name.startswith("_")}
        twins = {name: m for name, m in vars(other).items() if inspect.isfunction(m) and not name.startswith("_")}
        assert methods.keys() == twins.keys()
        for name, method in methods.items():
            assert list(inspect.signature(method).parameters) == list(inspect.signature(twins[name]).parameters)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, InvalidRequest), (404, NotFound), (409, Refused), (412, VersionConflict), (422, InvalidRequest),
     (500, ServerError), (503, ServerError)],
)  # fmt: skip
def test_a_problem_becomes_an_error_with_all_it_says(status: int, kind: type[ModelyardError]) -> None:
    errors = [{"path": "spec.x", "code": "bad", "message": "no"}]
    handler, _ = answers(problem(status, errors=errors, allowed=["start"]))
    with yard(handler) as client, pytest.raises(kind) as caught:
        client.models.get("m")
    error = caught.value
    assert (error.code, error.detail, error.request_id, error.allowed) == ("some_code", "Because.", "r1", ("start",))
    assert (error.errors[0].path, error.errors[0].message) == ("spec.x", "no")


def test_refused_connection_says_how_to_start() -> None:
    handler, seen = answers(httpx2.ConnectError("refused"))
    with yard(handler) as client, pytest.raises(NotRunning, match=r"not running at http://yard: start it with `mod"):
        client.models.status("m")
    assert len(seen) == 1


def test_an_answer_that_is_none_of_ours_is_named_as_such() -> None:
    handler, _ = answers(httpx2.Response(200, text="<html>"), httpx2.Response(502, text="bad gateway"))
    with yard(handler) as client:
        with pytest.raises(Unreachable, match="none of Modelyard's"):
            client.models.status("m")
        with pytest.raises(ServerError, match="bad gateway"):
            client.models.status("m")


def test_a_post_is_repeated_with_the_same_key_while_the_control_process_is_away() -> None:
    handler, seen = answers(
        problem(503, "control_unavailable"), httpx2.ReadError("reset"), httpx2.Response(202, json=OPERATION)
    )
    with yard(handler) as client:
        assert client.models.start("m").id == "op-1"
    keys = {request.headers["idempotency-key"] for request in seen}
    assert len(seen) == 3
    assert len(keys) == 1


def test_it_gives_up_in_the_end() -> None:
    handler, seen = answers(*[problem(503, "control_unavailable")] * 9)
    with yard(handler) as client, pytest.raises(ServerError):
        client.models.status("m")
    assert len(seen) == 6


@pytest.mark.parametrize("failure", [httpx2.ReadError("reset"), problem(503, "control_unavailable")])
def test_what_may_not_happen_twice_is_not_repeated(failure: httpx2.Response | Exception) -> None:
    handler, seen = answers(failure)
    with yard(handler) as client, pytest.raises(ModelyardError):
        client.infer("m", {"inputs": []})
    handler, seen = answers(failure)
    with yard(handler) as client, pytest.raises(ModelyardError):
        client.models.delete("m")
    assert len(seen) == 1


def test_a_model_that_does_not_serve_is_not_asked_again() -> None:
    handler, seen = answers(problem(503, "model_stopped"))
    with yard(handler) as client, pytest.raises(ServerError):
        client.models.status("m")
    assert len(seen) == 1


def test_lists_go_through_all_pages_and_carry_filters() -> None:
    pages = [{"items": [DONE], "next_page_token": "t"}, {"items": [OPERATION], "next_page_token": ""}]
    handler, seen = answers(*[httpx2.Response(200, json=page) for page in pages])
    with yard(handler) as client:
        assert [o.done for o in client.operations.list(model="m", done=True, page_size=1)] == [True, False]
    assert dict(seen[1].url.params) == {"model": "m", "done": "true", "page_size": "1", "page_token": "t"}


def test_labels_and_states_are_repeated_parameters() -> None:
    handler, seen = answers(httpx2.Response(200, json={"items": []}))
    with yard(handler) as client:
        list(client.models.list(namespace="*", state=["running", "error"], label={"a": "b", "c": "d"}))
    assert seen[0].url.params.get_list("label") == ["a=b", "c=d"]
    assert seen[0].url.params.get_list("state") == ["running", "error"]
    assert seen[0].url.params["all_namespaces"] == "true"


def test_names_cannot_leave_their_place_in_the_path() -> None:
    handler, seen = answers(problem(404))
    with yard(handler) as client, pytest.raises(NotFound):
        client.models.status("../../operations?x")
    assert seen[0].url.raw_path == b"/api/v1/namespaces/default/models/..%2F..%2Foperations%3Fx/status"


def test_an_update_names_the_version_that_it_is_meant_for() -> None:
    handler, seen = answers(httpx2.Response(200, json=DONE))
    with yard(handler) as client:
        client.models.update("m", {"public": True}, version=7)
    assert seen[0].headers["if-match"] == '"7"'
    assert json.loads(seen[0].content) == {"spec": {"public": True}, "reason": "", "acknowledge_restart": False}


def test_a_bulk_stop_says_what_it_means_and_gives_each_models_answer() -> None:
    items = [
        {"namespace": "default", "name": "a", "operation": DONE, "error": None},
        {"namespace": "default", "name": "b", "operation": None, "error": {"code": "deleting", "detail": "No."}},
    ]
    handler, seen = answers(problem(503, "control_unavailable"), *[httpx2.Response(202, json={"items": items})] * 2)
    with yard(handler) as client:
        first, second = client.models.stop_many(["a", "b"], timeout=5, reason="night")
        client.models.stop_many(label={"team": "x"}, namespace="*", force=True)
    assert first.operation is not None
    assert (first.operation.id, second.operation) == ("op-1", None)
    assert second.error is not None
    assert second.error.code == "deleting"
    assert json.loads(seen[0].content) == {
        "graceful": True, "reason": "night", "timeout": 5, "names": ["a", "b"], "labels": {}, "all": False
    }  # fmt: skip
    assert "idempotency-key" not in seen[0].headers, "one key cannot stand for many operations"
    assert str(seen[2].url) == "http://yard/api/v1/models/stop?all_namespaces=true"


def test_a_forecast_asks_for_a_dry_run() -> None:
    amount = {"cpu": 0, "memory": "0", "gpus": 2}
    waiting = {"reason": "InsufficientCapacity", "message": "2 GPUs needed.", "kinds": ["gpus"]}
    forecast = {"fits": False, "each": amount, "count": 1, "free": amount, "place": 3, "waiting": waiting}
    handler, seen = answers(*[httpx2.Response(200, json=forecast)] * 4)
    with yard(handler) as client:
        found = client.models.forecast_start("m")
        client.models.forecast_create("m", {})
        client.models.forecast_update("m", {})
        client.models.forecast_replace("m", {})
    assert (found.fits, found.place, found.each.gpus) == (False, 3, 2)
    assert found.waiting is not None
    assert found.waiting.kinds == ["gpus"]
    assert [(request.method, request.url.params["dry_run"]) for request in seen] == [
        ("POST", "true"), ("POST", "true"), ("PATCH", "true"), ("PUT", "true")
    ]  # fmt: skip


def test_waiting_shows_each_new_step_and_ends_with_the_operation() -> None:
    stepped = {**OPERATION, "steps": [{"name": "starting", "at": NOW, "message": "s"}]}
    handler, _ = answers(*[httpx2.Response(200, json=body) for body in (OPERATION, stepped, stepped, DONE)])
    shown: list[int] = []
    with yard(handler) as client:
        operation = client.operations.wait("op-1", on_change=lambda now: shown.append(len(now.steps)))
    assert operation.state == "succeeded"
    assert operation.raw["future_field"] == 1
    assert shown == [0, 1, 0]


def test_a_failed_operation_raises_with_its_reason_and_log() -> None:
    error = {"code": "load_failed", "message": "No weights.", "log": ["line"]}
    handler, _ = answers(httpx2.Response(200, json={**DONE, "state": "failed", "error": error}))
    with yard(handler) as client, pytest.raises(OperationFailed, match=r"No weights\.") as caught:
        client.operations.wait("op-1")
    assert (caught.value.code, caught.value.log) == ("load_failed", ("line",))


def test_a_wait_ends_in_time() -> None:
    handler, _ = answers(*[httpx2.Response(200, json=OPERATION)] * 3)
    with yard(handler) as client, pytest.raises(TimedOut, match="It goes on"):
        client.operations.wait("op-1", timeout=0.0)


def predicting(output: object, shape: list[int]) -> tuple[Modelyard, list[httpx2.Request]]:
    answer = {"model_name": "m", "outputs": [{"name": "y", "datatype": "FP32", "shape": shape, "data": output}]}
    handler, seen = answers(httpx2.Response(200, json=METADATA), *[httpx2.Response(200, json=answer)] * 3)
    return yard(handler), seen


@pytest.mark.parametrize(
    "inputs",
    [
        [[1, 2]],
        [1, 2],  # one row for an input whose first dimension is the batch
        {"x": [[1.0, 2.0]]},
        np.array([[1, 2]], dtype="int8"),
        {"x": np.array([1.0, 2.0])},
    ],
)
def test_inputs_take_datatype_and_batch_from_the_models_signature(inputs: object) -> None:
    client, seen = predicting([3, 4], [1, 2])
    with client:
        prediction = client.predict("m", inputs)
    assert prediction == {"y": [[3, 4]]}
    assert json.loads(seen[1].content)["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]


def test_the_signature_is_asked_for_once_and_the_raw_response_is_kept() -> None:
    client, seen = predicting([[3, 4]], [1, 2])
    with client:
        client.predict("m", [1, 2])
        prediction = client.predict("m", [1, 2])
    assert isinstance(prediction, Prediction)
    assert prediction.raw()["model_name"] == "m"
    assert [request.method for request in seen] == ["GET", "POST", "POST"]


def test_inputs_unknown_to_the_signature_are_sent_with_their_own_datatype() -> None:
    client, seen = predicting([3, 4], [1, 2])
    with client:
        client.predict("m", {"i": [1], "f": [0.5, 1], "b": [True], "s": ["a"], "h": np.zeros(2, "float16")})
    sent = {tensor["name"]: tensor["datatype"] for tensor in json.loads(seen[1].content)["inputs"]}
    assert sent == {"i": "INT64", "f": "FP64", "b": "BOOL", "s": "BYTES", "h": "FP16"}


@pytest.mark.parametrize("ragged", [[[1, 2], [3]], [1, [2]], [[1], 2]])
def test_a_ragged_list_is_refused_before_it_is_sent(ragged: object) -> None:
    client, seen = predicting([], [])
    with client, pytest.raises(InvalidRequest) as caught:
        client.predict("m", {"x": ragged})
    assert caught.value.errors[0].path == "inputs.x"
    assert "ragged" in caught.value.errors[0].message
    assert len(seen) == 1


def sse(*ids: int) -> httpx2.Response:
    event = {"at": NOW, "namespace": "default", "model": "m", "type": "StateChanged"}
    text = "".join(f"event: change\nid: {i}\ndata: {json.dumps({**event, 'id': i})}\n\n" for i in ids)
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=": connected\n\n" + text)


def test_watching_goes_on_where_the_stream_broke() -> None:
    handler, seen = answers(
        sse(1, 2), problem(503, "control_unavailable"), httpx2.ConnectError("refused"), sse(3), problem(401)
    )
    got: list[int] = []
    with yard(handler) as client, pytest.raises(ModelyardError) as caught:
        list(map(got.append, (event.id for event in client.watch())))
    assert isinstance(caught.value, modelyard.client.Unauthorized)
    assert got == [1, 2, 3]
    assert [request.headers.get("last-event-id") for request in seen] == [None, "2", "2", "2", "3"]


async def test_the_async_client_sends_retries_pages_and_watches_alike() -> None:
    page = httpx2.Response(200, json={"items": [DONE]})
    handler, seen = answers(
        problem(503, "control_unavailable"), httpx2.Response(200, json=DONE), page, sse(5), problem(401)
    )
    async with AsyncModelyard("http://yard", "secret", transport=httpx2.MockTransport(handler)) as client:
        assert (await client.operations.wait("op-1")).done
        assert [operation.id async for operation in client.operations.list()] == ["op-1"]
        stream = client.watch()
        assert (await anext(stream)).id == 5
        with pytest.raises(ModelyardError):
            await anext(stream)
    assert all(request.headers["authorization"] == "Bearer secret" for request in seen)


# ------------------------------------------------------------------------------------------- locating


def home_with(folder: Path, url: str | None = None, token: str | None = None, holder: str = "supervisor") -> Path:
    """A home whose recorded ``holder`` of ``url`` is this process; nothing else that it names runs."""
    (folder / "run").mkdir(parents=True, exist_ok=True)
    if url:
        me = identify(os.getpid())
        assert me is not None
        gone = {**asdict(me), "ticks": me.ticks + 1}
        record = {**gone, "url": url, "gateway": gone, "control": gone}
        record |= asdict(me) if holder == "supervisor" else {holder: asdict(me)}
        (folder / "run" / "up.json").write_text(json.dumps(record))
    if token:
        (folder / "admin.token").write_text(token + "\n")
    return folder


def test_url_and_token_come_from_a_running_home(tmp_path: Path) -> None:
    home = home_with(tmp_path / "home", "http://127.0.0.1:9100", "t")
    assert locate() == locate(home=home)
    assert (locate().url, locate().token) == ("http://127.0.0.1:9100", "t")


def test_the_environment_outranks_what_the_home_says_but_not_what_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_with(tmp_path / "home", "http://127.0.0.1:9100", "t")
    monkeypatch.setenv("MODELYARD_PORT", "9200")
    assert (locate().url, locate().token, locate().is_known) == ("http://127.0.0.1:9200", "", False)
    monkeypatch.setenv("MODELYARD_TOKEN", "env")
    assert (locate().url, locate().token) == ("http://127.0.0.1:9200", "env")
    monkeypatch.setenv("MODELYARD_URL", "http://else:1/")
    assert locate().url == "http://else:1"
    assert (locate(home=home).url, locate(home=home).token) == ("http://127.0.0.1:9100", "t")
    assert (locate("http://x", "y").url, locate("http://x", "y").token) == ("http://x", "y")


def test_without_anything_it_is_the_default_port_or_the_toml_files(tmp_path: Path) -> None:
    assert locate().url == "http://127.0.0.1:8900"
    (tmp_path / "modelyard.toml").write_text("port = 9300\n")
    assert locate().url == "http://127.0.0.1:9300"


def test_the_homes_token_is_not_sent_to_another_machine(tmp_path: Path) -> None:
    home_with(tmp_path / "home", "http://127.0.0.1:9100", "t")
    for other in ("http://example.com", "http://127.0.0.1:9101", "http://[::1]:9100", "https://127.0.0.1:9100"):
        assert locate(other).token == ""
    assert (locate("http://localhost:9100/").url, locate("http://localhost:9100").token) == (locate().url, "t")


@pytest.mark.parametrize(("holder", "token"), [("supervisor", "t"), ("gateway", "t"), ("control", ""), ("none", "")])
def test_the_homes_token_is_sent_only_while_its_address_is_held(tmp_path: Path, holder: str, token: str) -> None:
    """A record outlives what it names; whoever listens at the address then is somebody else."""
    home = home_with(tmp_path / "home", "http://127.0.0.1:8900", "t", holder)
    for place in (locate(), locate(home=home), locate("http://127.0.0.1:8900")):
        assert (place.url, place.token) == ("http://127.0.0.1:8900", token)


def test_a_port_of_the_working_folder_is_not_told_the_homes_token(tmp_path: Path) -> None:
    home_with(tmp_path / "home", token="t")
    (tmp_path / "modelyard.toml").write_text("port = 9300\n")
    assert (locate().url, locate().token) == ("http://127.0.0.1:9300", "")


def test_a_token_that_is_given_is_sent_wherever_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate("http://example.com", "given").token == "given"
    monkeypatch.setenv("MODELYARD_TOKEN", "env")
    for place in (locate(), locate("http://example.com")):
        assert (place.token, place.is_known) == ("env", True)


def test_where_nothing_of_ours_runs_nobody_is_asked_until_it_does(tmp_path: Path) -> None:
    handler, seen = answers(httpx2.Response(200, json=OPERATION))
    with Modelyard(transport=httpx2.MockTransport(handler)) as client:
        with pytest.raises(NotRunning, match=r"not running at http://127\.0\.0\.1:8900: start it with"):
            client.operations.get("op-1")
        home_with(tmp_path / "home", "http://127.0.0.1:9100", "t")
        assert client.operations.get("op-1").id == "op-1"
    assert [(str(r.url.host), r.url.port, r.headers["authorization"]) for r in seen] == [
        ("127.0.0.1", 9100, "Bearer t")
    ]
