"""The worker as a real process on a socket that its starter opened."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from modelyard.runtime import instance
from modelyard.runtime.frames import ConnectionLost, FramePeer, Head

StartWorker = Callable[..., Any]

REQUEST = json.dumps({"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}]}).encode()


async def ask(peer: FramePeer, op: str, body: bytes = b"", **params: Any) -> tuple[Head, bytes]:
    head, answer = await asyncio.wait_for(peer.request(Head(op=op, params=params), body), 60)
    return head, bytes(answer)


async def infer(peer: FramePeer, body: bytes = REQUEST, **params: Any) -> tuple[int, dict[str, Any]]:
    head, answer = await ask(peer, "infer", body, **{"content_type": "application/json", **params})
    return head.status, json.loads(answer)


async def test_worker_proves_who_it_is(start_worker: StartWorker) -> None:
    worker = start_worker("mock")
    peer = await worker.ready()
    head, _ = await ask(peer, "hello", nonce="0a0b")
    assert head.params == {
        "instance": "a0",
        "pid": worker.process.pid,
        "proof": hmac.new(bytes.fromhex("00ff11"), b"\x0a\x0b", hashlib.sha256).hexdigest(),
    }
    assert (await ask(peer, "hello", nonce="no hex"))[0].status == 400
    assert (await ask(peer, "fly"))[0].status == 404
    written = json.loads((worker.folder / "process.json").read_text())
    assert written == {"pid": worker.process.pid, "started": psutil.Process(worker.process.pid).create_time()}


@pytest.mark.parametrize(("cpu", "threads"), [(None, 1), (0.5, 1), (1, 1), (2.5, 3)])
def test_threads_follow_the_cores_and_without_any_there_is_one(home: Path, cpu: float | None, threads: int) -> None:
    fields = {"instance": "a0", "model": "m", "generation": 1, "engine": "mock", "source": None, "secret": "00"}
    (home / "instance.json").write_text(json.dumps({**fields, "resources": {"cpu": cpu}, "devices": ["0"]}))
    assert instance.read(home).threads == threads


async def test_digits_are_served(start_worker: StartWorker, demo: Path) -> None:
    worker = start_worker("onnx", source=str(demo / "digits" / "model.onnx"))
    peer = await worker.ready()
    head, _ = await ask(peer, "metadata")
    assert head.params["metadata"] == {
        "platform": "onnx_onnxv1",
        "versions": ["3"],
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 64]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
        ],
    }
    expected = json.loads((demo / "digits" / "about.json").read_text())["sample_answer"]
    sample = (demo / "digits" / "sample.json").read_bytes()
    answers = await asyncio.gather(*(infer(peer, sample, version="3") for _ in range(300)))
    assert {(status, answer["outputs"][0]["data"][0]) for status, answer in answers} == {(200, expected)}
    assert answers[0][1]["model_name"] == "m"
    assert answers[0][1]["model_version"] == "3"


async def test_binary_tensors_go_in_and_out(start_worker: StartWorker) -> None:
    peer = await start_worker("mock").ready()
    part = np.array([1.5, float("nan")], "<f4").tobytes()
    text = json.dumps(
        {
            "inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": len(part)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    head, body = await ask(peer, "infer", text + part, content_type="application/octet-stream", header_length=len(text))
    assert (head.status, head.params["content_type"]) == (200, "application/octet-stream")
    assert body[head.params["header_length"] :] == part
    status, problem = await infer(peer, text + part, content_type="application/octet-stream")
    assert (status, problem["code"]) == (400, "no_header_length")


async def test_refused_requests_get_a_problem(start_worker: StartWorker, demo: Path) -> None:
    peer = await start_worker("onnx", source=str(demo / "digits" / "model.onnx")).ready()
    status, problem = await infer(peer, REQUEST, id="r-1", path="/v2/models/m/infer")
    assert status == 422
    assert {key: problem[key] for key in ("type", "title", "status", "code", "instance", "request_id")} == {
        "type": "about:blank",
        "title": "Invalid request",
        "status": 422,
        "code": "invalid_request",
        "instance": "/v2/models/m/infer",
        "request_id": "r-1",
    }
    assert problem["error"] == problem["detail"]
    assert {(e["path"], e["code"]) for e in problem["errors"]} == {
        ("inputs[0].name", "unknown_input"),
        ("inputs", "missing_input"),
    }
    assert (await infer(peer, b"{"))[1]["code"] == "invalid_json"
    assert (await infer(peer, version="9"))[1]["code"] == "version_not_found"


async def test_failing_predictions_tell_the_caller_the_message_and_the_log_the_rest(
    start_worker: StartWorker, python_model: Callable[[str], Path]
) -> None:
    folder = python_model(
        "def deep():\n  raise KeyError('the weights')\nclass Model:\n  def predict(self, i): deep()\n"
    )
    worker = start_worker("python", source=str(folder))
    peer = await worker.ready()
    for _ in range(3):
        status, problem = await infer(peer, id="r-2")
        assert (status, problem["code"]) == (500, "model_error")
        assert "the weights" in problem["detail"]
        assert "deep" not in json.dumps(problem)
    assert "in deep" in worker.log
    assert "r-2" in worker.log


async def test_a_users_model_that_turns_slow_after_many_quick_calls_holds_up_nothing(
    start_worker: StartWorker, python_model: Callable[[str], Path], home: Path
) -> None:
    gate = home / "gate"
    folder = python_model(
        "import os, threading, time\nclass Model:\n  def predict(self, inputs):\n"
        f"    while inputs['x'][0] > 1 and not os.path.exists({str(gate)!r}): time.sleep(0.001)\n"
        "    return {'main': [threading.current_thread() is threading.main_thread()]}\n"
    )
    worker = start_worker("python", source=str(folder))
    peer = await worker.ready()
    for _ in range(100):
        status, answer = await infer(peer)
        assert (status, answer["outputs"][0]["data"]) == (200, [False])
    slow = asyncio.create_task(infer(peer, REQUEST.replace(b"[1, 2]", b"[2, 2]")))
    waiting = asyncio.create_task(infer(peer))
    assert (await ask(peer, "health"))[0].status == 200
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (await ask(peer, "health"))[0].status == 200
    worker.process.send_signal(signal.SIGTERM)
    while "ending: 1 requests in flight" not in worker.log:
        assert worker.process.poll() is None
        await asyncio.sleep(0.002)
    gate.touch()
    assert (await slow)[0] == 200
    assert await worker.wait() == 0


async def test_a_slow_model_does_not_hold_up_health_checks(
    start_worker: StartWorker, python_model: Callable[[str], Path], home: Path
) -> None:
    """The model blocks in a plain ``predict`` until a file appears."""
    gate = home / "gate"
    folder = python_model(
        "import os, time\nclass Model:\n  def predict(self, inputs):\n"
        f"    while not os.path.exists({str(gate)!r}): time.sleep(0.001)\n    return inputs\n"
    )
    peer = await start_worker("python", source=str(folder)).ready()
    slow = [asyncio.create_task(infer(peer)) for _ in range(5)]
    for _ in range(20):
        assert (await ask(peer, "health"))[0].status == 200
    assert not any(task.done() for task in slow)
    gate.touch()
    assert {status for status, _ in await asyncio.gather(*slow)} == {200}


async def test_requests_cancelled_while_they_wait_never_reach_the_model(
    start_worker: StartWorker, python_model: Callable[[str], Path], home: Path
) -> None:
    gate, calls = home / "gate", home / "calls"
    folder = python_model(
        "import os, time\nclass Model:\n  def predict(self, inputs):\n"
        f"    open({str(calls)!r}, 'a').write('x')\n"
        f"    while not os.path.exists({str(gate)!r}): time.sleep(0.001)\n    return inputs\n"
    )
    worker = start_worker("python", source=str(folder))
    peer, other = await worker.ready(), await worker.connect()
    running = asyncio.create_task(infer(peer))
    while not calls.exists():
        await asyncio.sleep(0.002)
    cancelled = [asyncio.create_task(infer(peer)) for _ in range(3)]
    lost = asyncio.create_task(infer(other))
    await ask(peer, "health")
    await ask(other, "health")
    for task in cancelled:
        task.cancel()
    other.close()
    with pytest.raises(ConnectionLost):
        await lost
    last = asyncio.create_task(infer(peer))
    await ask(peer, "health")
    # The other connection's end is seen in its own time; the worker still answers all that are left.
    gate.touch()
    assert (await running)[0] == (await last)[0] == 200
    worker.process.terminate()
    assert await worker.wait() == 0
    assert len(calls.read_text()) <= 3


async def test_sigterm_finishes_what_is_in_flight_and_refuses_the_rest(start_worker: StartWorker) -> None:
    worker = start_worker("mock", options={"latency_ms": 400})
    peer = await worker.ready()
    in_flight = [asyncio.create_task(infer(peer)) for _ in range(10)]
    await ask(peer, "health")
    worker.process.terminate()
    while "ending" not in worker.log:
        await asyncio.sleep(0.002)
    status, problem = await infer(peer)
    assert (status, problem["code"]) == (503, "draining")
    assert {status for status, _ in await asyncio.gather(*in_flight)} == {200}
    assert await worker.wait() == 0
    assert "10 requests in flight" in worker.log


async def test_second_sigterm_ends_it_at_once(start_worker: StartWorker) -> None:
    worker = start_worker("mock", options={"latency_ms": 60_000})
    peer = await worker.ready()
    waiting = asyncio.create_task(infer(peer))
    await ask(peer, "health")
    worker.process.terminate()
    while "ending" not in worker.log:
        await asyncio.sleep(0.002)
    worker.process.terminate()
    assert await worker.wait() == 128 + signal.SIGTERM
    with pytest.raises(ConnectionLost):
        await waiting


async def test_sigterm_while_loading_ends_it(start_worker: StartWorker) -> None:
    worker = start_worker("mock", options={"load_ms": 60_000})
    peer = await worker.connect()
    assert (await ask(peer, "health"))[0].status == 200
    status, problem = await infer(peer)
    assert (status, problem["code"]) == (503, "loading")
    asking = asyncio.create_task(ask(peer, "ready"))
    await ask(peer, "health")
    worker.process.terminate()
    assert (await asking)[0].status == 503
    assert await worker.wait() == 0


async def test_load_failure_is_answered_written_and_ends_the_worker(start_worker: StartWorker, home: Path) -> None:
    (home / "m.onnx").write_bytes(b"no model")
    worker = start_worker("onnx", source=str(home / "m.onnx"))
    peer = await worker.connect()
    head, _ = await ask(peer, "ready")
    assert (head.status, head.params["code"], head.params["permanent"]) == (500, "corrupt_file", True)
    assert await worker.wait() == 3
    assert worker.failure == head.params
    assert str(home / "m.onnx") in worker.log.splitlines()[-1]


async def test_load_failure_that_nobody_asks_for_ends_the_worker_too(start_worker: StartWorker) -> None:
    worker = start_worker("onnx", source="/nowhere/m.onnx")
    assert await worker.wait() == 3
    assert worker.failure["code"] == "missing_file"


async def test_what_a_model_prints_is_in_the_log_at_once(
    start_worker: StartWorker, python_model: Callable[[str], Path]
) -> None:
    folder = python_model("print('hello from the model')\nclass Model:\n  def predict(self, i): return i\n")
    worker = start_worker("python", source=str(folder))
    await worker.ready()
    assert "hello from the model" in worker.log


async def test_engines_import_nothing_of_each_other(start_worker: StartWorker, demo: Path) -> None:
    """Read from /proc: what is mapped is what was loaded."""
    mock, onnx = start_worker("mock"), start_worker("onnx", source=str(demo / "digits" / "model.onnx"))
    for worker, foreign in ((mock, ("onnxruntime", "sklearn", "scipy")), (onnx, ("sklearn", "scipy", "pydantic"))):
        await worker.ready()
        maps = Path(f"/proc/{worker.process.pid}/maps").read_text()
        assert not [name for name in foreign if f"/{name}/" in maps or f"/{name}_core/" in maps]


async def test_orphans_of_a_model_become_the_workers_children(
    start_worker: StartWorker, python_model: Callable[[str], Path]
) -> None:
    folder = python_model(
        "import subprocess, pathlib\nclass Model:\n  def load(self, folder):\n"
        "    out = subprocess.run(['sh', '-c', 'sleep 300 >/dev/null 2>&1 & echo $!'], capture_output=True).stdout\n"
        "    (folder / 'pid').write_text(out.decode().strip())\n  def predict(self, i): return i\n"
    )
    worker = start_worker("python", source=str(folder))
    await worker.ready()
    orphan = int((folder / "pid").read_text())
    try:
        assert psutil.Process(orphan).ppid() == worker.process.pid
    finally:
        os.kill(orphan, signal.SIGKILL)


async def test_a_stop_is_not_held_up_by_work_that_nobody_waits_for(
    start_worker: StartWorker, python_model: Callable[[str], Path]
) -> None:
    folder = python_model("import time\nclass Model:\n  def predict(self, i): time.sleep(120)\n")
    worker = start_worker("python", source=str(folder))
    peer = await worker.ready()
    task = asyncio.create_task(infer(peer))
    await ask(peer, "health")
    task.cancel()
    await ask(peer, "health")
    started = time.monotonic()
    worker.process.terminate()
    assert await worker.wait() == 0
    assert time.monotonic() - started < 60
