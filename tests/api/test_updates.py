"""Updates, rollouts and rollbacks through the API, with real worker processes behind it."""

from __future__ import annotations

from typing import Any

from tests.api.conftest import Api


async def test_a_change_of_the_container_needs_the_callers_word_that_it_may_restart(api: Api) -> None:
    await api.deploy("m")
    patch: dict[str, Any] = {"spec": {"container": {"environment": {"TZ": "UTC"}}}}
    refused = await api.patch("/models/m", patch)
    assert refused.status_code == 422
    assert [e["path"] for e in refused.json()["errors"]] == ["acknowledge_restart"]
    forecast = (await api.patch("/models/m", patch, dry_run=True)).json()
    assert forecast["needs_acknowledgement"] is True
    assert forecast["changes"] == [
        {"path": "container.environment.TZ", "before": None, "after": "UTC", "effect": "container"}
    ]
    assert forecast["strategy"] == "surge"
    done = await api.wait(await api.patch("/models/m", {**patch, "acknowledge_restart": True}))
    assert done["state"] == "succeeded"
    steps = [step["name"] for step in done["steps"]]
    assert steps == ["intake", "validate", "prepare", "roll_out", "verify", "finish"]


async def test_null_deletes_and_what_is_left_out_stays(api: Api) -> None:
    spec = {
        "engine": "mock",
        "type": "textgen",
        "container": {"environment": {"A": "1", "B": "2"}},
        "rollout": {"probe": {"body": {"inputs": []}}, "strategy": "replace"},
        "replicas": {"max": 2},
        "autoscaling": {"target": 4, "idle_after": "5m"},
    }
    await api.deploy("m", spec, desired="stopped")
    nulls = {
        "type": None,
        "container": {"environment": {"A": None}},
        "rollout": {"probe": None},
        "autoscaling": {"target": None, "idle_after": None},
    }
    assert (await api.patch("/models/m", {"spec": nulls})).status_code == 200
    now = (await api.get("/models/m"))["spec"]
    assert now["type"] is None
    assert now["container"]["environment"] == {"B": "2"}
    assert (now["rollout"]["probe"], now["rollout"]["strategy"]) == (None, "replace")
    assert (now["autoscaling"]["target"], now["autoscaling"]["idle_after"]) == (None, None)
    assert now["replicas"]["max"] == 2


async def test_revisions_are_compared_in_the_words_of_the_spec(api: Api) -> None:
    await api.deploy("m", {"engine": "mock", "resources": {"memory": "64Mi"}}, desired="stopped")
    change = {
        "resources": {"memory": "1Gi"},
        "container": {"health_check": {"interval": "1500ms"}},
        "autoscaling": {"idle_after": "5m"},
        "rollout": {"probe": {"body": {"inputs": []}, "timeout": "3s"}},
        "groups": ["a"],
        "labels": {"app.kubernetes.io/name": "m"},
    }
    await api.patch("/models/m", {"spec": change})
    diff = await api.get("/models/m/revisions/2/diff")
    assert (diff["from"], diff["to"]) == (1, 2)
    found = {c["path"]: (c["before"], c["after"], c["effect"]) for c in diff["changes"]}
    assert found == {
        "resources.memory": ("64Mi", "1Gi", "rollout"),
        "container.health_check.interval": ("5s", "1500ms", "container"),
        "autoscaling.idle_after": (None, "300s", "autoscaling"),
        "rollout.probe": (None, {"body": {"inputs": []}, "path": None, "timeout": "3s"}, "metadata"),
        "groups": ([], ["a"], "metadata"),
        "labels.app.kubernetes.io/name": (None, "m", "metadata"),
    }
    back = await api.get("/models/m/revisions/1/diff?against=2")
    assert {c["path"]: c["after"] for c in back["changes"]}["resources.memory"] == "64Mi"
    assert (await api.http.get("/api/v1/models/m/revisions/1/diff")).status_code == 422
    assert (await api.http.get("/api/v1/models/m/revisions/7/diff")).status_code == 404


async def test_a_rollback_makes_the_old_spec_a_new_revision(api: Api) -> None:
    await api.deploy("m", {"engine": "mock", "options": {"latency_ms": 1}})
    await api.wait(await api.patch("/models/m", {"spec": {"options": {"latency_ms": 2}}}))
    done = await api.wait(await api.post("/models/m/rollback", {"reason": "too slow"}))
    assert (done["kind"], done["state"]) == ("rollback", "succeeded")
    assert (await api.get("/models/m"))["spec"]["options"] == {"latency_ms": 1}
    revisions = (await api.get("/models/m/revisions"))["items"]
    assert [(r["generation"], r["current"], r["good"]) for r in revisions] == [
        (3, True, True), (2, False, False), (1, False, False)
    ]  # fmt: skip
    await api.wait(await api.post("/models/m/rollback", {"generation": 2}))
    assert (await api.get("/models/m"))["spec"]["options"] == {"latency_ms": 2}
    assert (await api.post("/models/m/rollback", {"generation": 9})).status_code == 404


async def test_a_revision_that_was_given_up_says_why(api: Api) -> None:
    bad = api.home / "bad"
    bad.mkdir()
    (bad / "model.py").write_text("raise RuntimeError('no such luck')\n")
    await api.deploy("m")
    await api.wait(await api.patch("/models/m", {"spec": {"engine": "python", "source": f"file://{bad}"}}))
    newest, first = (await api.get("/models/m/revisions"))["items"]
    assert "no such luck" in newest["failure"]["message"] + "".join(newest["failure"]["log"])
    assert (newest["current"], first["current"], first["failure"]) == (False, True, None)


async def test_a_rollout_is_paused_resumed_and_cancelled(api: Api) -> None:
    await api.deploy("m")
    update = await api.patch("/models/m", {"spec": {"options": {"load_ms": 60_000}}})
    await api.until("m", lambda s: s["rollout"] is not None, "the rollout has begun")
    paused = (await api.post("/models/m/rollout/pause")).json()
    assert (paused["rollout"]["from"], paused["rollout"]["to"], paused["rollout"]["paused"]) == (1, 2, True)
    resumed = (await api.post("/models/m/rollout/resume")).json()
    assert resumed["rollout"]["paused"] is False
    assert (await api.post("/models/m/rollout/cancel", {"reason": "wrong one"})).status_code == 200
    status = await api.until("m", lambda s: s["state"] == "running" and not s["rollout"], "it went back")
    assert [i["generation"] for i in status["instances"]] == [1]
    assert (await api.wait(update))["state"] == "cancelled"
    none = await api.post("/models/m/rollout/force")
    assert (none.status_code, none.json()["code"]) == (409, "no_rollout")


async def test_a_redeploy_replaces_every_instance_of_the_same_revision(api: Api) -> None:
    await api.deploy("m")
    before = (await api.get("/models/m/instances"))["items"][0]["id"]
    done = await api.wait(await api.post("/models/m/redeploy", {"reason": "new base"}))
    assert (done["kind"], done["state"], done["reason"]) == ("redeploy", "succeeded", "new base")
    model = await api.get("/models/m")
    assert model["generation"] == 1
    assert [i["id"] for i in model["status"]["instances"]] != [before]


async def test_a_terminated_instance_is_replaced(api: Api) -> None:
    await api.deploy("m")
    before = (await api.get("/models/m/instances"))["items"][0]["id"]
    done = await api.wait(await api.http.delete(f"/api/v1/models/m/instances/{before}", params={"force": True}))
    assert (done["kind"], done["state"]) == ("terminate", "succeeded")
    status = await api.until("m", lambda s: s["instances_ready"] == 1, "another one is ready")
    assert [i["id"] for i in status["instances"]] != [before]
    assert (await api.http.delete("/api/v1/models/m/instances/none")).status_code == 404


async def test_a_start_that_is_to_keep_its_number_of_instances_is_not_scaled(api: Api) -> None:
    await api.deploy("m", {"engine": "mock", "replicas": {"max": 3}, "autoscaling": {"target": 1}}, desired="stopped")
    await api.wait(await api.post("/models/m/start", {"restore_autoscaling": False}))
    scale = (await api.get("/models/m/status"))["scale"]
    assert (scale["suspended"], scale["desired"], scale["min"], scale["max"]) == (True, 1, 1, 3)


async def test_more_than_the_machine_could_ever_run_is_refused(api: Api) -> None:
    await api.deploy("m", {"engine": "mock", "resources": {"cpu": 0.5}})
    refused = await api.patch("/models/m", {"spec": {"replicas": {"min": 64, "max": 64}, "resources": {"cpu": 1000}}})
    assert refused.status_code == 422
    inventory = (await api.get("/capacity"))["items"][0]["inventory"]
    many = {"replicas": {"min": 64, "max": 64}, "resources": {"cpu": inventory["cpu"]}}
    refused = await api.patch("/models/m", {"spec": many})
    assert refused.status_code == 422
    assert [e["path"] for e in refused.json()["errors"]] == ["spec.replicas.min"]


async def test_a_model_whose_file_is_gone_can_still_be_described_stopped_and_deleted(api: Api) -> None:
    folder = api.home / "double"
    folder.mkdir()
    (folder / "model.py").write_text(
        "class Model:\n"
        "    inputs = [{'name': 'x', 'datatype': 'FP64', 'shape': [-1]}]\n"
        "    outputs = [{'name': 'y', 'datatype': 'FP64', 'shape': [-1]}]\n"
        "    def load(self, folder): pass\n"
        "    def predict(self, inputs): return {'y': inputs['x']}\n"
    )
    await api.deploy("m", {"engine": "python", "source": f"file://{folder}"})
    (folder / "model.py").unlink()
    done = await api.wait(await api.patch("/models/m", {"spec": {"description": "it serves"}}))
    assert done["state"] == "succeeded"
    refused = await api.patch("/models/m", {"spec": {"resources": {"memory": "512Mi"}}})
    assert [e["path"] for e in refused.json()["errors"]] == ["spec.source"]
    assert (await api.wait(await api.post("/models/m/stop")))["state"] == "succeeded"
    assert (await api.wait(await api.http.delete("/api/v1/models/m")))["state"] == "succeeded"


async def test_a_rollback_without_a_revision_passes_over_what_was_cancelled_or_runs_already(api: Api) -> None:
    await api.deploy("m", {"engine": "mock"})
    update = await api.patch("/models/m", {"spec": {"options": {"load_ms": 60_000}}})
    await api.post("/models/m/rollout/cancel")
    assert (await api.wait(update))["state"] == "cancelled"
    status = await api.get("/models/m/status")
    assert (status["generation"], status["serving_generation"]) == (2, 1)
    back = await api.wait(await api.post("/models/m/rollback"))
    assert back["result"]["generation"] == 3
    assert (await api.get("/models/m"))["spec"]["options"] == {}
    refused = await api.post("/models/m/rollback")
    assert (refused.status_code, refused.json()["code"]) == (409, "no_earlier_revision")
    second = next(r for r in (await api.get("/models/m/revisions"))["items"] if r["generation"] == 2)
    assert second["failure"]["code"] == "cancelled"


async def test_true_is_no_number_and_nought_is_not_no(api: Api) -> None:
    spec = {"engine": "mock", "resources": {"gpus": True}, "public": 0}
    refused = await api.post("/models", {"name": "m", "spec": spec})
    assert {e["path"] for e in refused.json()["errors"]} == {"spec.resources.gpus", "spec.public"}
