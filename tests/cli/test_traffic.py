"""Versions replaced and traffic shared under load, through the command line, with real processes."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import onnx
import pytest

from modelyard import demo
from modelyard.client import Modelyard
from tests.cli.yard import Yard, eventually

ROW = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}


@dataclass
class Seen:
    """What callers got, by what ``read`` makes of an answer; ``bad`` is everything that is no 200."""

    answers: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    last: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def more(self, count: int = 30) -> None:
        wanted = self.answers.total() + count
        eventually(lambda: self.answers.total() >= wanted, f"{count} more answers; {self.bad}")


@contextmanager
def asking(yard: Yard, model: str, request: dict[str, Any] = ROW, callers: int = 3) -> Iterator[Seen]:
    """Callers that send one request after the other until the block ends."""
    seen = Seen()
    token = (yard.home / "admin.token").read_text().strip()

    def call() -> None:
        with httpx2.Client(base_url=yard.url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
            while not seen.ended.is_set():
                try:
                    answer = http.post(f"/v2/models/{model}/infer", json=request)
                except httpx2.TransportError as error:
                    seen.bad[type(error).__name__] += 1
                    continue
                if answer.status_code != 200:
                    seen.bad[answer.text] += 1
                    continue
                # They leave room for what is tested beside them.
                time.sleep(0.005)
                label = next(o for o in answer.json()["outputs"] if o["datatype"] == "INT64")
                seen.last = str(label["data"][0])
                seen.answers[seen.last] += 1

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        seen.ended.set()
        for thread in threads:
            thread.join(30)


def answering(number: int) -> list[dict[str, Any]]:
    """The outputs of a mock model that always answers ``number``."""
    return [{"name": "label", "datatype": "INT64", "shape": [1], "data": [number]}]


def deploy(yard: Yard, name: str, number: int, **spec: Any) -> None:
    """A mock model that answers ``number``."""
    spec = {"engine": "mock", "options": {"outputs": answering(number)}, **spec}
    yard.ok("apply", "-f", "-", stdin=json.dumps({"name": name, "spec": spec}))


@pytest.fixture
def digits(tmp_path: Path) -> tuple[str, str, dict[str, Any]]:
    """Two real models that answer the same picture differently, and the request."""
    demo.make(tmp_path)
    first = tmp_path / "digits" / "model.onnx"
    model = onnx.load(first)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "classlabels_ints":
                attribute.ints[:] = [label + 100 for label in attribute.ints]
    second = tmp_path / "second.onnx"
    onnx.save(model, second)
    return str(first), str(second), json.loads((tmp_path / "digits" / demo.SAMPLE).read_text())


def test_a_model_is_replaced_in_place_and_no_request_fails(yard: Yard, digits: tuple[str, str, dict[str, Any]]) -> None:
    first, second, request = digits
    yard.ok("deploy", "swapped", first)
    (before,) = yard.json("status", "swapped")["instances"]
    with asking(yard, "swapped", request) as seen:
        seen.more()
        old = seen.last
        for source in (second, first, second):
            yard.ok("update", "swapped", "--set", f"source=file://{source}")
            seen.more()
        new = seen.last
    assert not seen.bad
    assert set(seen.answers) == {old, new}
    assert int(new) == int(old) + 100
    # The old ones are drained and gone, with all that they held.
    (now,) = yard.json("status", "swapped")["instances"]
    assert now["id"] != before["id"]
    with pytest.raises(ProcessLookupError):
        os.kill(before["pid"], 0)
    with asking(yard, "swapped", request, callers=1) as after:
        after.more(5)
    assert set(after.answers) == {new}
    yard.ok("delete", "swapped", "-y", "--force")


def canary(interval: str) -> dict[str, Any]:
    return {"canary": {"steps": [30, 60], "interval": interval, "min_requests": 20, "max_wait": "1h"}}


def client(yard: Yard) -> Modelyard:
    return Modelyard(yard.url, token=(yard.home / "admin.token").read_text().strip())


def test_a_good_canary_takes_over_by_itself_and_nobody_notices(yard: Yard) -> None:
    deploy(yard, "canary", 1, rollout=canary("1h"))
    with asking(yard, "canary") as seen, client(yard) as sdk:
        yard.ok("update", "canary", "--set", f"options.outputs={json.dumps(answering(2))}", "--no-wait")

        def counted() -> bool:
            return any(arm.name == "2" and arm.requests >= 20 for arm in sdk.models.traffic("canary").arms)

        eventually(counted, "its requests are counted")
        assert "canary at 30 %" in yard.ok("status", "canary")
        shown = yard.ok("rollout", "status", "canary")
        assert re.search(r"Canary +30 % of the requests, since \w+; 60 % not before ", shown)
        assert re.search(r"revision 1 +70 % .*front\n *revision 2 +30 % ", shown)
        # What it goes by may be changed on the way.
        yard.ok("update", "canary", "--set", "rollout.canary.interval=1s")
        eventually(lambda: sdk.models.status("canary").rollout is None, "it has taken over", 60)
        seen.more()
        assert seen.last == "2"
        assert sdk.models.status("canary").serving_generation == 3
    assert not seen.bad
    happened = [event["type"] for event in yard.json("events", "canary", "--limit", "100")]
    assert happened.count("CanaryServes") == 2
    assert "CanaryPromoted" in happened
    yard.ok("delete", "canary", "-y", "--force")


def test_a_slow_canary_goes_back_and_says_by_what_numbers(yard: Yard) -> None:
    deploy(yard, "slowed", 1, rollout=canary("1h"))
    with asking(yard, "slowed") as seen:
        done = yard.run("update", "slowed", "--set", "options.latency_ms=150")
        assert done.returncode != 0
        assert re.search(r"95th percentile of the new revision is \d+ ms", " ".join(done.stderr.split()))
        seen.more()
    assert not seen.bad
    status = yard.json("status", "slowed")
    assert (status["state"], status["serving_generation"], status["rolled_back_from"]) == ("running", 1, 2)
    assert re.search(r"2 +failed +.*canary_aborted", yard.ok("revisions", "slowed"))
    yard.ok("delete", "slowed", "-y", "--force")


def test_a_canary_is_steered_by_hand(yard: Yard) -> None:
    deploy(yard, "steered", 1, rollout={"canary": {"steps": [5], "interval": "1h", "max_wait": "1h"}})
    assert yard.run("rollout", "promote", "steered").returncode == 4
    yard.ok("update", "steered", "--set", "options.latency_ms=1", "--no-wait")
    eventually(lambda: "canary at 5 %" in yard.ok("status", "steered"), "it has begun")
    yard.ok("rollout", "set-percent", "steered", "40")
    eventually(lambda: "canary at 40 %" in yard.ok("status", "steered"), "it is set")
    assert yard.run("rollout", "set-percent", "steered", "100").returncode == 7
    assert "paused" in yard.ok("rollout", "pause", "steered")
    assert "aborted; revision 1 serves" in yard.ok("rollout", "abort", "steered")
    eventually(lambda: yard.state("steered") == "running", "it went back")
    yard.ok("update", "steered", "--set", "options.latency_ms=2", "--no-wait")
    eventually(lambda: "canary at 5 %" in yard.ok("status", "steered"), "another has begun")
    yard.ok("rollout", "promote", "steered")
    eventually(lambda: yard.json("status", "steered")["rollout"] is None, "it is promoted")
    assert yard.json("status", "steered")["serving_generation"] == 3
    yard.ok("delete", "steered", "-y", "--force")


def test_traffic_is_shared_compared_and_taken_back_while_it_runs(yard: Yard) -> None:
    for number, name in enumerate(("front", "front-b", "front-next"), start=1):
        deploy(yard, name, number)
    instances = yard.json("status", "front")["instances"]
    assert "all requests go the same way" in yard.ok("traffic", "front")
    with asking(yard, "front") as seen:
        seen.more()
        assert set(seen.answers) == {"1"}
        told = yard.ok("traffic", "set", "front", "--split", "front-b=40", "--shadow", "front-next=100", "--dry-run")
        assert "nothing would be launched" in told
        yard.ok("traffic", "set", "front", "--split", "front-b=40", "--shadow", "front-next=100")
        eventually(lambda: seen.answers["2"] > 200, "the other model answers, too")

        def compared() -> str:
            text = yard.ok("traffic", "front")
            return text if "Not enough" not in text and re.search(r"front-next \(shadow\) +100 %", text) else ""

        shown = eventually(compared, "there are enough requests")
        assert re.search(r"front +60 % \(is \d.*front\n", shown)
        assert re.search(r"front-b +40 % \(is (3|4)\d", shown)
        yard.ok("traffic", "clear", "front")
        before = seen.answers["2"]
        seen.more(100)
        assert seen.answers["2"] - before <= 3, "those that were on their way"
    assert not seen.bad
    assert "3" not in seen.answers
    assert yard.json("status", "front")["instances"][0]["id"] == instances[0]["id"]
    yard.ok("traffic", "set", "front", "--split", "none-such=10", "--sticky", "header:X-User-ID")
    (arm,) = [a for a in yard.json("traffic", "front")["arms"] if a["name"] == "none-such"]
    assert not arm["serving"]
    assert "none-such of spec.traffic do not serve" in yard.ok("status", "front")
    refused = yard.run("traffic", "set", "front", "--split", "front=10")
    assert refused.returncode == 7
    assert "  --split  " in refused.stderr
    assert yard.run("traffic", "set", "front").returncode == 2
    for name in ("front", "front-b", "front-next"):
        yard.ok("delete", name, "-y", "--force")
