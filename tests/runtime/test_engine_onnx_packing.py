"""Mapped weights that are packed while the model serves, and those that stay as they are."""

from __future__ import annotations

import asyncio
import json
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.runtime import limits
from modelyard.runtime.engines import onnx_packing
from modelyard.runtime.frames import Head

StartWorker = Callable[..., Any]
MIB = 2**20
LAYERS, WIDTH = 8, 1024


@pytest.fixture
def model(home: Path) -> Path:
    """32 MiB of matrices in a file of their own, and a table that nothing packs."""
    random = np.random.default_rng(0)
    weights = [numpy_helper.from_array(random.standard_normal((64, WIDTH), np.float32), "table")]
    nodes = [helper.make_node("Gather", ["table", "i"], ["h0"])]
    for number in range(LAYERS):
        matrix = random.standard_normal((WIDTH, WIDTH), np.float32) * np.float32(WIDTH**-0.5)
        weights.append(numpy_helper.from_array(matrix, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [f"h{number}", f"w{number}"], [f"h{number + 1}"]))
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("i", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info(f"h{LAYERS}", TensorProto.FLOAT, ["n", WIDTH])],
        weights,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(made, home / "m.onnx", save_as_external_data=True, location="w.bin")
    return home / "m.onnx"


async def answers(peer: Any, rows: int) -> np.ndarray[Any, Any]:
    tensor = {"name": "i", "shape": [rows], "datatype": "INT64", "data": [row % 64 for row in range(rows)]}
    head, answer = await asyncio.wait_for(peer.request(Head(op="infer"), json.dumps({"inputs": [tensor]}).encode()), 60)
    assert head.status == 200, bytes(answer)
    return np.array(json.loads(bytes(answer))["outputs"][0]["data"], np.float32)


async def test_weights_are_packed_between_requests_and_answers_stay_the_same(
    start_worker: StartWorker, model: Path
) -> None:
    worker = start_worker("onnx", source=str(model), resources={"cpu": 1, "memory": 300 * MIB})
    peer, pid = await worker.ready(), worker.process.pid
    first = await answers(peer, 48)
    async with asyncio.timeout(60):
        while "weights packed" not in worker.log:
            for rows in (1, 48):
                np.testing.assert_allclose(await answers(peer, rows), first[: rows * WIDTH], rtol=1e-3, atol=1e-4)
        # The first session goes, and with it what was allowed for it: only the table is mapped still.
        while resource.prlimit(pid, resource.RLIMIT_DATA)[0] > 301 * MIB:
            np.testing.assert_allclose(await answers(peer, 48), first, rtol=1e-3, atol=1e-4)
    maps = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "w.bin" in line]
    bounds = [[int(bound, 16) for bound in line[0].split("-")] for line in maps]
    assert sum(end - start for start, end in bounds) < MIB
    np.testing.assert_allclose(await answers(peer, 48), first, rtol=1e-3, atol=1e-4)


class Holder:
    def __init__(self, session: object) -> None:
        self.session = session

    def use(self, session: object) -> None:
        self.session = session


@pytest.mark.parametrize("room", [None, 64 * MIB])
def test_weights_stay_mapped_without_a_limit_that_leaves_room(
    monkeypatch: pytest.MonkeyPatch, model: Path, room: int | None
) -> None:
    monkeypatch.setattr(limits, "room", lambda: room)
    onnx_packing.pack_later(Holder("first"), [model.with_name("w.bin")], lambda: pytest.fail("made"), alone=False)
    assert "pack" not in {thread.name for thread in threading.enumerate()}


def test_a_session_that_cannot_be_made_leaves_the_first_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, model: Path
) -> None:
    allowed: list[int] = []
    monkeypatch.setattr(onnx_packing, "_LATER", 0.0)
    monkeypatch.setattr(limits, "room", lambda: 2**40)
    monkeypatch.setattr(limits, "allow_mapped", allowed.append)
    holder = Holder("first")

    def fail() -> object:
        raise RuntimeError("bad allocation")

    onnx_packing._pack(lambda: holder, [model.with_name("w.bin")], fail, False)
    assert holder.session == "first"
    assert sum(allowed) == 0
    assert "packing them failed: bad allocation" in caplog.text


def test_nothing_is_packed_for_a_model_that_is_gone(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    monkeypatch.setattr(onnx_packing, "_LATER", 0.0)
    monkeypatch.setattr(limits, "room", lambda: 2**40)
    onnx_packing._pack(lambda: None, [model.with_name("w.bin")], lambda: pytest.fail("made"), False)
