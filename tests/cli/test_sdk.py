"""The SDK against a real Modelyard."""

from __future__ import annotations

import threading

import pytest

from modelyard.client import AsyncModelyard, Modelyard, NotFound, Refused
from tests.cli.yard import Yard

MOCK = {"engine": "mock", "options": {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [4, 2]}]}}


def test_a_model_is_driven_through_its_life(yard: Yard) -> None:
    with Modelyard(home=yard.home) as client:
        client.operations.wait(client.models.create("sdk", MOCK, reason="a test"))
        assert client.models.get("sdk").status.state == "running"
        prediction = client.predict("sdk", {"x": [[1.0]]})
        assert prediction == {"y": [[4, 2]]}
        assert prediction.raw()["model_name"] == "sdk"
        model = client.models.get("sdk")
        client.operations.wait(client.models.update("sdk", {"description": "new"}, version=model.version))
        assert [revision.generation for revision in client.models.revisions("sdk")] == [2, 1]
        assert client.models.revision("sdk", 1).spec["description"] == ""
        assert [instance.phase for instance in client.models.instances("sdk")] == ["ready"]
        assert any("ready" in line.text for line in client.models.logs("sdk"))
        with pytest.raises(Refused) as refused:
            client.models.start("sdk")
        assert "stop" in refused.value.allowed
        stopped = client.operations.wait(client.models.stop("sdk", timeout=5))
        assert stopped.result
        assert stopped.result["state"] == "stopped"
        client.operations.wait(client.models.start("sdk"))
        client.operations.wait(client.models.restart("sdk"))
        types = [event.type for event in client.models.events("sdk", page_size=2)]
        assert types[-1] == "Created"
        client.operations.wait(client.models.delete("sdk", force=True))
        with pytest.raises(NotFound):
            client.models.status("sdk")


def test_a_running_operation_is_cancelled(yard: Yard) -> None:
    with Modelyard(home=yard.home) as client:
        operation = client.models.create("cancelled", {"engine": "mock", "options": {"load_ms": 60000}})
        assert client.operations.cancel(operation.id).state == "cancelled"
        client.operations.wait(client.models.delete("cancelled", force=True))


def test_namespaces_keep_models_apart(yard: Yard) -> None:
    with Modelyard(home=yard.home) as client:
        assert client.namespaces.create("vision", description="eyes").name == "vision"
        client.operations.wait(client.models.create("m", MOCK, namespace="vision"))
        assert client.predict("m", {"x": [1.0]}, namespace="vision") == {"y": [[4, 2]]}
        assert [model.name for model in client.models.list(namespace="vision")] == ["m"]
        assert ("vision", "m") in [(model.namespace, model.name) for model in client.models.list(namespace="*")]
        with pytest.raises(Refused):
            client.namespaces.delete("vision")
        client.operations.wait(client.models.delete("m", namespace="vision", force=True))
        client.namespaces.delete("vision")
        assert "vision" not in [namespace.name for namespace in client.namespaces.list()]


def test_a_watch_sees_events_as_they_happen(yard: Yard) -> None:
    with Modelyard(home=yard.home) as client:
        last = next(iter(client.events(page_size=1)), None)
        starter = threading.Timer(0.2, lambda: yard.run("deploy", "watched", "--engine", "mock"))
        starter.start()
        for event in client.watch(model="watched", after=last.id if last else 0):
            if event.type == "StateChanged" and event.data.get("to") == "running":
                break
        starter.join()


async def test_the_async_client_does_the_same(yard: Yard) -> None:
    async with AsyncModelyard(home=yard.home) as client:
        await client.operations.wait(await client.models.create("asdk", MOCK))
        assert await client.predict("asdk", {"x": [[1.0]]}) == {"y": [[4, 2]]}
        assert "asdk" in [model.name async for model in client.models.list()]
        assert [line.instance async for line in client.models.logs("asdk", tail=1)]
        async for event in client.watch(model="asdk", after=0):
            assert event.type == "Created"
            break
        await client.operations.wait(await client.models.delete("asdk", force=True))
        health = await client.health()
        assert health["ml_models"]["enabled"] is True
