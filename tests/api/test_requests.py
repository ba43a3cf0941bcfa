"""What the API makes of requests: problems with all errors, keys, ETags, pages, streams, the document."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from modelyard.api.describe import document
from tests.api.conftest import TOKEN, Api


async def test_without_the_token_nothing_is_told(api: Api) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = await api.http.get("/api/v1/models", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["code"] == "unauthorized"
        assert answer.headers["www-authenticate"] == "Bearer"
    health = await api.http.get("/health", headers={"Authorization": ""})
    assert health.json() == {"status": "healthy"}


async def test_all_errors_come_at_once_with_their_paths(api: Api) -> None:
    body = {
        "name": "Not A Name",
        "spec": {
            "engine": "tensorflux",
            "source": "file:///nowhere/model.onnx",
            "resources": {"cpu": "many", "memory": "5 potatoes"},
            "replicas": {"min": 3, "max": 1},
            "colour": "blue",
        },
    }
    answer = await api.http.post("/api/v1/models", json=body)
    assert answer.status_code == 422
    errors = {e["path"]: e["code"] for e in answer.json()["errors"]}
    assert errors == {
        "name": "invalid_name",
        "spec.engine": "unknown_value",
        "spec.source": "not_found",
        "spec.resources.cpu": "invalid_value",
        "spec.resources.memory": "invalid_value",
        "spec.replicas.min": "out_of_range",
        "spec.colour": "unknown_field",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "without a Content-Type"),
        ("text/plain", "as 'text/plain'"),
        ("application/x-www-form-urlencoded", "as 'application/x-www-form-urlencoded'"),
    ],
)
async def test_a_body_that_does_not_say_that_it_is_json_is_told_to(api: Api, given: str | None, said: str) -> None:
    body = b'{"name": "m", "spec": {"engine": "mock"}}'
    headers = {"Content-Type": given} if given else {}
    answer = await api.http.request("POST", "/api/v1/models", content=body, headers=headers)
    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"
    assert answer.json()["detail"].startswith(f"The body was sent {said}. Send JSON")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b'{"name": "m", "spec": {', 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[]", 422, "invalid_request"),
        (b'{"name": "m"}', 422, "invalid_request"),
        (b'{"name": "m", "spec": {"engine": "mock"}, "desired": "perhaps"}', 422, "invalid_request"),
        (
            b'{"name": "m", "spec": {"engine": "mock", "resources": {"memory": null, "cpu": NaN}}}',
            422,
            "invalid_request",
        ),
        (b'{"name": "m", "spec": {"engine": "mock", "description": "\\ud800"}}', 422, "invalid_request"),
        (
            b'{"name": "m", "spec": {"engine": "mock", "options": {"latency_ms": 1' + b"0" * 30 + b"}}}",
            422,
            "invalid_request",
        ),
        (
            b'{"name": "m", "spec": {"engine": "mock", "limits": {"max_body": [], "request_timeout": null}}}',
            422,
            "invalid_request",
        ),
        (b"[" * 100_000, 400, "bad_request"),
        (b'{"name": "' + b"x" * (5 * 2**20) + b'"}', 413, "body_too_large"),
    ],
)
async def test_a_broken_body_is_a_problem(api: Api, content: bytes, status: int, code: str) -> None:
    answer = await api.http.post("/api/v1/models", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api/v1/models/m", 404, "not_found"),
        ("GET", "/api/v1/namespaces/ghosts/models/m", 404, "not_found"),
        ("GET", "/api/v1/namespaces/ghosts/models", 404, "not_found"),
        ("PUT", "/api/v1/models", 405, "method_not_allowed"),
        ("GET", "/api/v1/models?page_size=0", 422, "invalid_request"),
        ("GET", "/api/v1/models?page_token=forged", 422, "invalid_request"),
        ("GET", "/api/v1/models?sort=colour", 422, "invalid_request"),
        ("GET", "/api/v1/models?state=sleepy", 422, "invalid_request"),
        ("GET", "/api/v1/models?label=broken", 422, "invalid_request"),
        ("GET", "/api/v1/operations/op-none", 404, "not_found"),
        ("GET", "/api/v1/operations/op-none/wait?timeout=1h", 422, "invalid_request"),
    ],
)
async def test_a_request_for_what_is_not_there_is_a_problem(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    answer = await api.http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_repeated_request_with_the_same_key_is_carried_out_once(api: Api) -> None:
    body = {"name": "m", "spec": {"engine": "mock"}, "desired": "stopped"}
    first, second = await asyncio.gather(
        *(api.http.post("/api/v1/models", json=body, headers={"Idempotency-Key": "k1"}) for _ in range(2))
    )
    assert first.json()["id"] == second.json()["id"]
    other = await api.http.post("/api/v1/models", json={**body, "name": "n"}, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    without = await api.http.post("/api/v1/models", json=body)
    assert (without.status_code, without.json()["code"]) == (409, "already_exists")


async def test_a_change_meant_for_another_version_is_refused(api: Api) -> None:
    await api.deploy("m", desired="stopped")
    seen = (await api.http.get("/api/v1/models/m")).headers["etag"]
    patch = {"spec": {"description": "first"}}
    assert (await api.http.patch("/api/v1/models/m", json=patch, headers={"If-Match": seen})).status_code == 200
    late = await api.http.patch("/api/v1/models/m", json={"spec": {"description": "late"}}, headers={"If-Match": seen})
    assert (late.status_code, late.json()["code"]) == (412, "etag_mismatch")
    assert (await api.get("/models/m"))["spec"]["description"] == "first"


async def test_lists_are_filtered_sorted_and_paged(api: Api) -> None:
    for number in range(5):
        labels = {"team": "a" if number % 2 else "b"}
        await api.deploy(f"m{number}", {"engine": "mock", "labels": labels}, desired="stopped")

    async def names(query: str) -> list[str]:
        return [m["name"] for m in (await api.get(f"/models?{query}"))["items"]]

    assert await names("label=team=a") == ["m1", "m3"]
    assert await names("sort=-name&page_size=2") == ["m4", "m3"]
    assert await names("search=m2") == ["m2"]
    assert await names("state=running") == []
    walked: list[str] = []
    token = ""
    while True:
        page = await api.get(f"/models?page_size=2&page_token={token}")
        walked += [m["name"] for m in page["items"]]
        token = page["next_page_token"]
        if not token:
            break
    assert walked == ["m0", "m1", "m2", "m3", "m4"]


async def test_namespaces_keep_models_apart(api: Api) -> None:
    assert (await api.post("/namespaces", {"name": "vision"})).status_code == 201
    assert (await api.post("/namespaces", {"name": "vision"})).json()["code"] == "already_exists"
    body = {"name": "m", "spec": {"engine": "mock"}, "desired": "stopped"}
    assert (await api.post("/namespaces/vision/models", body)).status_code == 200
    assert (await api.http.get("/api/v1/models/m")).status_code == 404
    everywhere = await api.get("/models?all_namespaces=true")
    assert [(m["namespace"], m["name"]) for m in everywhere["items"]] == [("vision", "m")]
    full = await api.http.delete("/api/v1/namespaces/vision")
    assert (full.status_code, full.json()["code"]) == (409, "not_empty")
    await api.wait(await api.http.delete("/api/v1/namespaces/vision/models/m"))
    assert (await api.http.delete("/api/v1/namespaces/vision")).status_code == 204
    assert (await api.http.delete("/api/v1/namespaces/default")).json()["code"] == "default_namespace"


async def test_changes_are_streamed_and_a_stream_goes_on_where_it_ended(api: Api) -> None:
    await api.deploy("m", desired="stopped")

    async def first_change(last_id: int) -> str:
        from modelyard.control.ports import EventQuery

        async for event in api.services.feed.follow(EventQuery(after=last_id), heartbeat=60):
            assert event is not None
            return event.type
        raise AssertionError

    assert await first_change(0) == "Created"
    last = await api.services.store.last_event_id()
    waiting = asyncio.create_task(first_change(last))
    await api.http.patch("/api/v1/models/m", json={"spec": {"description": "x"}})
    assert await asyncio.wait_for(waiting, 5) == "SpecChanged"


async def test_a_patch_of_the_wrong_shape_is_not_blamed_for_what_it_leaves_out(api: Api) -> None:
    await api.deploy("m", desired="stopped")
    answer = await api.patch("/models/m", {"spec": {"description": "x"}, "acknowledge_restart": "maybe"})
    assert [e["path"] for e in answer.json()["errors"]] == ["acknowledge_restart"]


async def test_every_new_field_of_a_spec_is_kept_as_it_was_sent(api: Api) -> None:
    spec = {
        "engine": "mock",
        "type": "textgen",
        "features": {"streaming": True, "tool_calls": True, "image_input": False, "summarization": False},
        "groups": ["team-a"],
        "resources": {"cpu": None, "memory": "64Mi", "gpus": 0},
        "replicas": {"min": 1, "max": 3, "desired": 2},
        "autoscaling": {
            "metric": "rps", "target": 50.0, "window": "10s", "cooldown": "5s", "warm_up": "1s",
            "scale_down_delay": "60s", "idle_after": "300s", "wake_timeout": "30s", "max_waiting": 7,
        },
        "rollout": {
            "strategy": "surge", "progress_deadline": "90s",
            "probe": {"body": {"inputs": []}, "path": None, "timeout": "2500ms"},
            "canary": {
                "steps": [5, 40], "interval": "30s", "min_requests": 7, "max_wait": "600s", "max_error_rate": 0.1,
                "max_latency_ratio": 2.0,
            },
        },
        "traffic": {
            "split": [{"model": "n", "weight": 20.0}],
            "sticky": {"by": "header", "name": "X-User-ID", "set_cookie": False},
            "shadow": [{"model": "o", "percent": 50.0}],
        },
        "priority": 3, "preempt": "lower-priority", "pin": True,
    }  # fmt: skip
    await api.deploy("m", spec, desired="stopped")
    stored = (await api.get("/models/m"))["spec"]
    assert {name: stored[name] for name in spec} == spec
    await api.http.put("/api/v1/models/m", json={"spec": stored})
    assert (await api.get("/models/m"))["generation"] == 1, "what was given is what may be sent"


async def test_all_that_is_wrong_with_scaling_and_rollout_comes_at_once(api: Api) -> None:
    spec = {
        "engine": "mock",
        "type": "embedding",
        "features": {"streaming": True},
        "replicas": {"min": 2, "max": 4, "desired": 9},
        "autoscaling": {"target": 0, "window": "soon", "metric": "mood"},
        "rollout": {"strategy": "leap", "probe": {"body": {}}},
        "priority": 5000,
        "resources": {"gpus": "two"},
    }
    answer = await api.post("/models", {"name": "m", "spec": spec})
    assert {e["path"]: e["code"] for e in answer.json()["errors"]} == {
        "spec.features.streaming": "not_applicable",
        "spec.replicas.desired": "out_of_range",
        "spec.autoscaling.target": "out_of_range",
        "spec.autoscaling.window": "invalid_value",
        "spec.autoscaling.metric": "unknown_value",
        "spec.rollout.strategy": "unknown_value",
        "spec.rollout.probe.body": "required",
        "spec.priority": "out_of_range",
        "spec.resources.gpus": "invalid_value",
    }


async def test_logs_of_an_instance_are_there(api: Api) -> None:
    folder = api.home / "talks"
    folder.mkdir()
    (folder / "model.py").write_text(
        "class Model:\n"
        "    def load(self, folder): print('hello from load', flush=True)\n"
        "    def predict(self, inputs): return inputs\n"
    )
    await api.deploy("m", {"engine": "python", "source": f"file://{folder}"})
    lines = [line["text"] for line in (await api.get("/models/m/logs"))["items"]]
    assert any("hello from load" in line for line in lines)


async def test_the_metrics_name_what_was_promised(api: Api) -> None:
    await api.deploy("m")
    text = (await api.http.get("/internal/metrics")).text
    assert 'model_health_status{model="m",namespace="default"} 1.0' in text
    usage = next(line for line in text.splitlines() if line.startswith("model_memory_usage_mb{"))
    assert float(usage.split()[-1]) > 1


async def test_health_has_the_json_form(api: Api) -> None:
    await api.deploy("m")
    body: dict[str, Any] = (await api.http.get("/health")).json()
    assert body["status"] == "healthy"
    assert body["ml_models"]["enabled"] is True
    assert body["ml_models"]["phase"] == "fully_ready"
    assert body["ml_models"]["loaded_models"] == 1


def test_the_committed_document_is_that_of_the_code() -> None:
    committed = Path(__file__).parents[2] / "docs" / "openapi.yaml"
    assert committed.read_text() == document(), "the API has changed: run `make openapi` and commit docs/openapi.yaml"
