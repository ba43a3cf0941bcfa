"""The manager inside a FastAPI application, with real models: routes, health, borrowing in routes of one's own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from onnx import TensorProto, helper, numpy_helper

from modelyard.runtime import ModelManager, ModelUnavailable, ProgressiveLoadingConfig
from modelyard.runtime.manager.browsers import guarded
from modelyard.runtime.manager.status import missing


def made(environment: str = "development", **config: Any) -> ModelManager:
    # Where tests share two cores with others, importing scikit-learn has taken half a minute.
    return ModelManager(ProgressiveLoadingConfig(environment=environment, **{"wait_timeout": 120, **config}))


@asynccontextmanager
async def served(manager: ModelManager) -> AsyncIterator[AsyncClient]:
    """Mounted in an application, as its users would."""
    app = FastAPI(lifespan=manager.lifespan)
    app.mount("/ml", manager.app)
    transport = ASGITransport(app=app)
    async with manager.lifespan(app), AsyncClient(transport=transport, base_url="http://here/ml") as client:
        yield client


def test_nothing_heavy_is_imported_before_it_is_asked_for() -> None:
    program = (
        "import sys, modelyard.runtime; print([m for m in sys.modules if m in ('numpy', 'onnxruntime', 'asyncio')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


async def test_several_models_are_served_under_their_names(demo: Path) -> None:
    manager = made()
    manager.register("digits", demo / "digits" / "model.onnx", critical=True)
    manager.register("wine", demo / "wine" / "model.skops")
    manager.register("echo", engine="mock")
    manager.register("own", object)
    async with served(manager) as client:
        await manager.wait("fully_ready", 60)
        for name in ("digits", "wine"):
            sample = (demo / name / "sample.json").read_bytes()
            answer = await client.post(f"/v2/models/{name}/infer", content=sample)
            assert (answer.status_code, answer.json()["model_name"]) == (200, name)
        index = (await client.post("/v2/repository/index")).json()
        states = {model["name"]: model["state"] for model in index}
        assert states == {"digits": "READY", "wine": "READY", "echo": "UNAVAILABLE", "own": "UNAVAILABLE"}
        ready = (await client.post("/v2/repository/index", json={"ready": True})).json()
        assert [model["name"] for model in ready] == ["digits", "wine"]
        assert (await client.get("/v2/models/echo/ready")).status_code == 503
        assert (await client.get("/v2/models/echo")).json()["platform"] == "mock"
        assert (await client.get("/v2/models/echo/ready")).json() == {"name": "echo", "ready": True}
        problem = (await client.post("/v2/models/own/infer", content=b"{}")).json()
        assert problem["code"] == "model_not_served"
        assert "digits" in (await client.get("/v2/models/none")).json()["detail"]
        metrics = (await client.get("/metrics")).text
        assert 'modelyard_model_requests_total{model="wine"} 1\n' in metrics
        assert 'modelyard_model_ready{model="echo"} 1\n' in metrics


async def test_models_are_loaded_and_unloaded_by_request(demo: Path) -> None:
    manager = made()
    manager.register("digits", demo / "digits" / "model.onnx")
    manager.register("vital", engine="mock", critical=True)
    sample = (demo / "digits" / "sample.json").read_bytes()
    async with served(manager) as client:
        assert (await client.post("/v2/models/digits/infer", content=sample)).status_code == 200
        assert (await client.post("/v2/repository/models/digits/unload")).status_code == 200
        answer = await client.post("/v2/models/digits/infer", content=sample)
        assert (answer.status_code, answer.json()["code"]) == (503, "model_unloaded")
        assert (await client.post("/v2/repository/models/digits/load", json={})).json() == {}
        assert (await client.post("/v2/models/digits/infer", content=sample)).status_code == 200
        answer = await client.post("/v2/repository/models/vital/unload")
        assert (answer.status_code, answer.json()["code"]) == (409, "model_needed")
        assert (await client.get("/v2/repository/models/vital/unload")).status_code == 405


async def test_health_is_told_apart_from_readiness(home: Path) -> None:
    gate = asyncio.Event()

    async def load() -> str:
        await gate.wait()
        return "there"

    manager = made("production")
    manager.register("slow", load, critical=True)
    manager.register("bad", home / "gone.onnx")
    async with served(manager) as client:
        live = await client.get("/health/live")
        assert (live.status_code, live.json()["phase"]) == (200, "models_loading")
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (
            503, {"ready": False, "phase": "models_loading", "missing": ["slow"]},
        )  # fmt: skip
        gate.set()
        await manager.wait("models_ready", 60)
        assert (await client.get("/health/ready")).status_code == 200
        answer = await client.post("/v2/models/bad/infer", content=b"{}")
        assert (answer.status_code, answer.json()["code"]) == (503, "missing_file")
        # Trying again changes nothing, so nobody is asked to.
        assert "retry-after" not in answer.headers
        status = (await client.get("/status")).json()
        assert (status["phase"], status["degraded"]) == ("models_ready", ["bad"])


async def test_what_may_come_back_says_when_to_ask_again(home: Path) -> None:
    manager = made(retry_after=7)

    def load() -> None:
        raise OSError("the disk is away")

    manager.register("m", load)
    async with served(manager) as client:
        answer = await client.get("/v2/models/m")
        assert answer.status_code == 503
        assert answer.json()["detail"] == "m could not be loaded: The loader of m failed: OSError: the disk is away"
        assert answer.headers["retry-after"] == "7"


async def test_a_plain_route_borrows_a_model_in_its_thread() -> None:
    manager = made()
    closed = threading.Event()

    class Model:
        def close(self) -> None:
            closed.set()

    manager.register("m", Model)
    app = FastAPI(lifespan=manager.lifespan)

    @app.get("/plain")
    def plain() -> str:
        with manager.use("m") as model:
            return type(model).__name__

    @app.get("/own")
    async def own() -> str:
        async with manager.use("m") as model:
            return type(model).__name__

    async with manager.lifespan(app), AsyncClient(transport=ASGITransport(app=app), base_url="http://here") as client:
        assert (await client.get("/plain")).json() == "Model"
        assert (await client.get("/own")).json() == "Model"
        with pytest.raises(RuntimeError, match="async with"), manager.use("m"):
            pass
        await manager.unload("m")
        assert closed.is_set()


async def test_two_python_models_with_modules_of_one_name_keep_their_own(home: Path) -> None:
    manager = made()
    for name, factor in (("two", 2), ("three", 3)):
        folder = home / name
        folder.mkdir()
        (folder / "helper.py").write_text(f"FACTOR = {factor}\n")
        (folder / "model.py").write_text(
            "import helper\n\nclass Model:\n    def predict(self, inputs):\n"
            "        return {'y': inputs['x'] * helper.FACTOR}\n"
        )
        manager.register(name, folder)
    body = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [7]}]}
    async with served(manager) as client:
        for name, expected in (("two", 14), ("three", 21), ("two", 14)):
            answer = (await client.post(f"/v2/models/{name}/infer", json=body)).json()
            assert answer["outputs"][0]["data"] == [expected]


def test_real_models_are_measured_make_room_and_their_memory_is_free_again(home: Path) -> None:
    for name in ("a", "b", "c"):
        write_onnx(home / f"{name}.onnx")
    # In a process of its own: what the allocator keeps of other tests' memory would be counted, or used again.
    done = subprocess.run(
        [sys.executable, "-c", MEASURING, str(home)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    # The first one also has what all sessions share.
    assert all(24 <= size / 2**20 < 40 for size in said["sizes"]), said
    assert said["used"] <= 64 * 2**20
    assert said["evictions"] == 4
    assert said["free"] < said["full"] - 40 * 2**20, said


MEASURING = """
import asyncio, json, sys
from modelyard.runtime import ModelManager, ProgressiveLoadingConfig
from modelyard.runtime.manager.memory import resident

async def main():
    manager = ModelManager(ProgressiveLoadingConfig(environment="development", memory_budget="64Mi"))
    for name in "abc":
        manager.register(name, f"{sys.argv[1]}/{name}.onnx")
    sizes, used = [], 0
    async with manager.lifespan(None):
        for name in "abcabc":
            await manager.get(name)
            status = manager.status()
            sizes.append(status["models"][name]["memory"]["bytes"])
            used = max(used, status["memory"]["used"])
        full = resident()
        for name in "abc":
            await manager.unload(name)
        evictions = sum(model["evictions"] for model in manager.status()["models"].values())
        print(json.dumps(dict(sizes=sizes, used=used, full=full, free=resident(), evictions=evictions)))

asyncio.run(main())
"""


def write_onnx(path: Path) -> None:
    """24 matrices of 1 MiB, one after the other."""
    count, width = 24, 512
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal((width, width), np.float32), f"w{n}") for n in range(count)
    ]
    nodes = [helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"x{n + 1}"]) for n in range(count)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width]) for name in ("x0", f"x{count}")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


async def test_an_answer_in_pieces_is_sent_piece_by_piece(home: Path) -> None:
    (home / "model.py").write_text(
        "class Model:\n    async def predict(self, inputs, parameters):\n"
        "        if parameters.get('fail'):\n            raise ValueError('no')\n"
        "        for word in ('one', 'two'):\n            yield {'text': word}\n"
    )
    manager = made()
    manager.register("m", home)
    async with served(manager) as client:
        answer = await client.post("/v2/models/m/generate_stream", json={"text": "x"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        pieces = [line for line in answer.text.splitlines() if line.startswith("data:")]
        assert ["one" in pieces[0], "two" in pieces[1], len(pieces)] == [True, True, 2]
        answer = await client.post("/v2/models/m/generate_stream", json={"parameters": {"fail": True}})
        assert (answer.status_code, answer.json()["code"]) == (500, "model_error")
        assert manager.status()["models"]["m"]["uses"] == 0


async def test_pages_from_elsewhere_may_not_ask_and_names_that_lead_here_are_not_served() -> None:
    manager = made()
    manager.register("m", engine="mock")
    app = guarded(manager.app, ["https://board.example"], local_origins=True, local_hosts=True)
    async with (
        manager.lifespan(None),
        AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost:8900") as client,
    ):
        for origin in ("http://localhost:3000", "https://board.example", "http://localhost:8900"):
            answer = await client.get("/health/ready", headers={"Origin": origin})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
        answer = await client.post("/v2/repository/models/m/unload", headers={"Origin": "https://evil.example"})
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")
        answer = await client.get("/health/ready", headers={"Host": "evil.example:8900"})
        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_host")
        # An application that is served by itself begins and ends with it.
        assert missing(manager) == []


async def test_served_by_itself_the_application_starts_and_stops_its_manager() -> None:
    manager = made("production")
    manager.register("m", lambda: "there")
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        if sent:
            await manager.wait("fully_ready", 60)
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await manager.app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(ModelUnavailable, match="is ending"):
        await manager.get("m")


async def test_the_end_waits_for_a_thread_in_which_a_model_is_being_loaded() -> None:
    going, there, closed = threading.Event(), threading.Event(), threading.Event()

    class Model:
        def close(self) -> None:
            closed.set()

    def load() -> Model:
        going.set()
        assert there.wait(60)
        return Model()

    manager = made("production")
    manager.register("m", load)
    await manager.start()
    await asyncio.to_thread(going.wait, 60)
    ending = asyncio.create_task(manager.stop())
    await asyncio.sleep(0)
    assert not ending.done()
    there.set()
    await ending
    assert closed.is_set()
