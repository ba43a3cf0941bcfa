"""The commands that change models that are there."""

from __future__ import annotations

import re

import pytest

from modelyard.client import AsyncModelyard, Forecast, InvalidRequest, Modelyard, NotFound
from tests.cli.yard import Yard, eventually

MOCK = {"engine": "mock"}


def generations(yard: Yard, name: str) -> list[int]:
    return [instance["generation"] for instance in yard.json("status", name)["instances"]]


def test_an_update_names_paths_and_a_restart_is_acknowledged(yard: Yard) -> None:
    yard.ok("deploy", "changed", "--engine", "mock", "--env", "OLD=1")
    change = ("update", "changed", "--set", "container.environment.TZ=UTC", "--unset", "container.environment.OLD")
    refused = yard.run(*change)
    assert refused.returncode == 7
    assert "--acknowledge-restart" in refused.stderr
    told = yard.ok(*change, "--dry-run")
    assert re.search(r"container\.environment\.TZ +- +UTC +new instances, to be acknowledged\n", told)
    assert re.search(r"container\.environment\.OLD +1 +- ", told)
    assert generations(yard, "changed") == [1]
    assert "changed is updated" in yard.ok(*change, "--acknowledge-restart")
    assert generations(yard, "changed") == [2]
    (model,) = yard.json("list", "--search", "changed")
    assert model["spec"]["container"]["environment"] == {"TZ": "UTC"}
    assert yard.run("update", "changed").returncode == 2


def test_scale_changes_how_many_run_and_restarts_none(yard: Yard) -> None:
    yard.ok("deploy", "scaled", "--engine", "mock")
    (before,) = yard.json("status", "scaled")["instances"]
    yard.ok("scale", "scaled", "--min", "2", "--max", "3", "--target", "concurrency=4", "--idle-after", "1h")
    after = eventually(lambda: len(found := yard.json("status", "scaled")["instances"]) == 2 and found, "two run")
    assert before["id"] in [instance["id"] for instance in after]
    yard.ok("scale", "scaled", "--target", "none", "--idle-after", "never")
    (model,) = yard.json("list", "--search", "scaled")
    assert model["spec"]["replicas"] == {"min": 2, "max": 3, "desired": None}
    assert (model["spec"]["autoscaling"]["target"], model["spec"]["autoscaling"]["idle_after"]) == (None, None)
    assert yard.run("scale", "scaled").returncode == 2
    assert yard.run("scale", "scaled", "--target", "4").returncode == 2
    yard.ok("delete", "scaled", "-y", "--force")


def test_a_rollout_is_watched_paused_and_cancelled(yard: Yard) -> None:
    yard.ok("deploy", "rolled", "--engine", "mock")
    yard.ok("update", "rolled", "--set", "options.load_ms=60000", "--no-wait")
    eventually(lambda: yard.json("status", "rolled")["rollout"], "the rollout has begun")
    shown = yard.ok("rollout", "status", "rolled")
    assert re.search(r"Rollout +revision 1 to 2.*, 0 of 1 ready\n", shown)
    assert re.search(r"intake .*\n *validate .*\n *prepare ", shown)
    assert "paused" in yard.ok("rollout", "pause", "rolled")
    assert re.search(r"rolled +updating .* revision 1 to 2.* paused\n", yard.ok("list", "--search", "rolled"))
    assert "paused" not in yard.ok("rollout", "resume", "rolled")
    yard.ok("rollout", "cancel", "rolled", "--reason", "the wrong one")
    eventually(lambda: yard.state("rolled") == "running", "it went back")
    assert generations(yard, "rolled") == [1]
    assert "no rollout is under way; it is running" in yard.ok("rollout", "status", "rolled")
    assert yard.run("rollout", "force", "rolled").returncode == 4
    yard.ok("delete", "rolled", "-y", "--force")


def test_revisions_are_listed_compared_and_gone_back_to(yard: Yard) -> None:
    yard.ok("deploy", "history", "--engine", "mock", "--reason", "the first")
    yard.ok("update", "history", "--set", "options.latency_ms=2", "--reason", "slower")
    assert "history is rolled back" in yard.ok("rollback", "history")
    listed = yard.ok("revisions", "history")
    assert re.search(r"3 +current, good +admin +\w+ +Back to revision 1\n2 +admin +\w+ +slower\n1 +admin ", listed)
    compared = yard.ok("diff", "history", "1", "2")
    assert re.search(r"From revision 1 to 2:\n\n.*\noptions\.latency_ms +- +2 +new instances\n", compared)
    assert yard.ok("diff", "history", "1", "3") == "From revision 1 to 3: nothing changes.\n"
    assert yard.json("diff", "history", "2")["changes"][0]["after"] == 2
    yard.ok("rollback", "history", "--to", "2")
    assert yard.run("rollback", "history", "--to", "99").returncode == 3
    before = yard.json("status", "history")["instances"][0]["id"]
    assert "history is redeployed" in yard.ok("redeploy", "history")
    (now,) = yard.json("status", "history")["instances"]
    assert (now["generation"], now["id"] != before) == (4, True)
    assert "history has ended the instance" in yard.ok("terminate", "history", now["id"], "--force")
    eventually(lambda: yard.json("status", "history")["instances_ready"] == 1, "another one is ready")
    yard.ok("delete", "history", "-y", "--force")


def test_the_sdk_forecasts_updates_rolls_back_and_stops_many(yard: Yard) -> None:
    with Modelyard(home=yard.home) as client:
        models = client.models
        assert isinstance(models.forecast_create("sdk-u", MOCK), Forecast)
        client.operations.wait(models.create("sdk-u", MOCK))
        change = {"container": {"environment": {"A": "1"}}}
        with pytest.raises(InvalidRequest) as refused:
            models.update("sdk-u", change)
        assert refused.value.errors[0].path == "acknowledge_restart"
        forecast = models.forecast_update("sdk-u", change)
        assert [(c.path, c.before, c.after) for c in forecast.changes] == [("container.environment.A", None, "1")]
        assert forecast.needs_acknowledgement
        client.operations.wait(models.update("sdk-u", change, acknowledge_restart=True))
        assert models.forecast_replace("sdk-u", MOCK).changes[0].after is None
        diff = models.diff("sdk-u", 2)
        assert (diff.before, diff.after, diff.changes[0].effect) == (1, 2, "container")
        client.operations.wait(models.rollback("sdk-u", 1))
        client.operations.wait(models.redeploy("sdk-u"))
        assert [(r.generation, r.current) for r in models.revisions("sdk-u")] == [(3, True), (2, False), (1, False)]
        (instance,) = models.instances("sdk-u")
        client.operations.wait(models.terminate("sdk-u", instance.id, force=True))
        stopped, missing = sorted(models.stop_many(["sdk-u", "sdk-x"], force=True), key=lambda one: one.name)
        assert stopped.operation is not None
        client.operations.wait(stopped.operation)
        assert missing.error is not None
        assert missing.error.code == "not_found"
        client.operations.wait(models.start("sdk-u", restore_autoscaling=False))
        assert (site := client.capacity()[0]).inventory.cpu > 0, site
        assert client.capacity(site="elsewhere") == []
        assert client.examine() == client.clear([]) == []
        made = client.namespaces.create("sdk-q", quota={"gpus": 1})
        assert (made.quota.gpus, made.usage.gpus) == (1, 0)
        assert client.namespaces.set_quota("sdk-q", {"gpus": None, "memory": "1Gi"}).quota.memory == "1Gi"
        client.namespaces.delete("sdk-q")
        client.operations.wait(models.delete("sdk-u", force=True))


async def test_the_async_client_steers_rollouts_too(yard: Yard) -> None:
    async with AsyncModelyard(home=yard.home) as client:
        await client.operations.wait(await client.models.create("asdk-u", MOCK))
        update = await client.models.update("asdk-u", {"options": {"load_ms": 60_000}})
        status = await client.models.pause_rollout("asdk-u")
        assert status.rollout is not None
        assert (status.rollout.before, status.rollout.after, status.rollout.paused) == (1, 2, True)
        assert (await client.models.resume_rollout("asdk-u")).state == "updating"
        await client.models.cancel_rollout("asdk-u")
        assert (await client.operations.get(update.id)).state == "cancelled"
        with pytest.raises(NotFound):
            await client.models.diff("asdk-u", 9)
        await client.operations.wait(await client.models.delete("asdk-u", force=True))
