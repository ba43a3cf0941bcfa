"""``kill -9`` of every process at bad moments, under load: nothing of the state is lost, and models come back."""

from __future__ import annotations

import fcntl
import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from modelyard.supervisor.processes import Identity, instance_processes
from tests.cli.yard import Yard, eventually
from tests.faults.load import load


@pytest.fixture
def yard() -> Iterator[Yard]:
    made = Yard()
    try:
        made.ok("up", "--detach")
        made.ok("deploy", "m", "--engine", "mock")
        yield made
    finally:
        made.close()


def kill(yard: Yard, name: str) -> Identity:
    """Kill the process and give its identity; a new one will have another."""
    victim = yard.process(name)
    assert victim is not None
    os.kill(victim.pid, signal.SIGKILL)
    return victim


def back(yard: Yard, name: str, victim: Identity) -> None:
    eventually(lambda: yard.process(name) not in (None, victim), f"a new {name}")


def instances(yard: Yard, model: str) -> list[dict[str, Any]]:
    return list(yard.json("status", model)["instances"])


def answers(yard: Yard) -> bool:
    return yard.run("status", "m").returncode == 0


def is_running(yard: Yard, model: str = "m") -> bool:
    status = yard.run("status", model, "-o", "json")
    return status.returncode == 0 and '"state": "running"' in status.stdout


def test_killing_the_control_process_fails_no_request_and_the_next_one_adopts_the_workers(yard: Yard) -> None:
    before = instances(yard, "m")
    with load(yard, "m") as outcomes:
        for _ in range(3):
            outcomes.wait_for_more()
            back(yard, "control", kill(yard, "control"))
            eventually(lambda: answers(yard), "an answer of the new control process")
        outcomes.wait_for_more()
    assert outcomes.bad == {}
    after = instances(yard, "m")
    assert [(i["id"], i["pid"]) for i in after] == [(i["id"], i["pid"]) for i in before], "adopted, not started anew"
    yard.ok("stop", "m")
    assert instance_processes(yard.home) == [], "an adopted worker is stopped like any other"


def test_a_control_process_that_cannot_start_leaves_the_workers_serving(yard: Yard) -> None:
    before = instances(yard, "m")
    lock = os.open(yard.home / "state.db.lock", os.O_RDWR)
    with load(yard, "m") as outcomes:
        outcomes.wait_for_more()
        kill(yard, "control")
        fcntl.flock(lock, fcntl.LOCK_EX)
        log = yard.home / "logs" / "control.log"
        eventually(lambda: log.read_text().count("Another control process") >= 3, "control processes that give up")
        outcomes.wait_for_more()
        os.close(lock)
        eventually(lambda: answers(yard), "an answer")
    assert outcomes.bad == {}
    assert [i["pid"] for i in instances(yard, "m")] == [i["pid"] for i in before]


def test_killing_the_gateway_loses_only_what_was_in_flight(yard: Yard) -> None:
    before = instances(yard, "m")
    with load(yard, "m", callers=4) as outcomes:
        outcomes.wait_for_more()
        back(yard, "gateway", kill(yard, "gateway"))
        outcomes.wait_for_more()
    # Each caller loses at most the request it had in flight, and one more on a connection that was just closing.
    assert sum(outcomes.broken.values()) <= 2 * 4, outcomes
    assert set(outcomes.answers) == {"200"}, outcomes
    assert instances(yard, "m")[0]["pid"] == before[0]["pid"]


def test_a_killed_worker_comes_back_by_itself(yard: Yard) -> None:
    pid = instances(yard, "m")[0]["pid"]
    with load(yard, "m") as outcomes:
        outcomes.wait_for_more()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: is_running(yard) and instances(yard, "m")[0]["pid"] != pid, "a new worker")
        outcomes.wait_for_more()
    assert outcomes.broken == {}, "the gateway answers for a lost worker"
    assert all(answer.startswith(("200", "503")) for answer in outcomes.answers), outcomes
    events = yard.ok("events", "m")
    assert "SIGKILL" in events


def test_a_stopped_model_stays_stopped_whatever_dies(yard: Yard) -> None:
    yard.ok("stop", "m", "--reason", "bad model")
    for name in ("control", "gateway"):
        back(yard, name, kill(yard, name))
        eventually(lambda: answers(yard), "an answer")
        assert yard.state("m") == "stopped"
    kill(yard, "supervisor")
    kill(yard, "gateway")
    kill(yard, "control")
    yard.ok("up", "--detach")
    status = yard.json("status", "m")
    assert status["state"] == "stopped"
    assert status["last_transition"]["reason"] == "bad model"
    assert instance_processes(yard.home) == []
    predicted = yard.run("predict", "m", "--data", '{"inputs": []}')
    assert predicted.returncode == 4
    assert "stopped" in predicted.stderr


def test_after_the_death_of_everything_models_come_back_as_they_were_wished(yard: Yard) -> None:
    yard.ok("deploy", "off", "--engine", "mock")
    yard.ok("stop", "off")
    for name in ("supervisor", "gateway", "control"):
        kill(yard, name)
    for process in instance_processes(yard.home):
        os.kill(process.pid, signal.SIGKILL)
    yard.ok("up", "--detach")
    eventually(lambda: is_running(yard), "m running again")
    assert yard.state("off") == "stopped"


def test_a_stop_goes_on_where_a_killed_control_process_left_it(yard: Yard) -> None:
    yard.ok("deploy", "slow", "--engine", "mock", "--option", "latency_ms=60000")
    with load(yard, "slow", callers=1):
        eventually(lambda: "model_inference_in_flight" in _metrics(yard), "a request in flight")
        stopping = yard.begin("stop", "slow", "--timeout", "4s")
        eventually(lambda: yard.state("slow") == "stopping", "a drain under way")
        victim = kill(yard, "control")
        stopping.kill()
        stopping.communicate()
        back(yard, "control", victim)
        eventually(lambda: answers(yard), "an answer")
        eventually(lambda: yard.state("slow") == "stopped", "the stop to finish")
    assert [p.pid for p in instance_processes(yard.home)] == [instances(yard, "m")[0]["pid"]], "only m is left"


def _metrics(yard: Yard) -> str:
    import httpx2

    token = (yard.home / "admin.token").read_text().strip()
    return httpx2.get(f"{yard.url}/metrics", headers={"Authorization": f"Bearer {token}"}).text


def test_a_start_goes_on_where_a_killed_control_process_left_it(yard: Yard) -> None:
    yard.ok("deploy", "slow", "--engine", "mock", "--option", "load_ms=3000", "--no-wait")
    eventually(lambda: instances(yard, "slow"), "an instance that loads")
    pid = instances(yard, "slow")[0]["pid"]
    back(yard, "control", kill(yard, "control"))
    eventually(lambda: answers(yard), "an answer")
    eventually(lambda: is_running(yard, "slow"), "the start to finish")
    assert instances(yard, "slow")[0]["pid"] == pid, "the loading worker was adopted, not started over"


@pytest.mark.parametrize("seed", range(2))
def test_random_kills_end_in_what_was_wished(yard: Yard, seed: int) -> None:
    choose = random.Random(seed)
    yard.ok("deploy", "other", "--engine", "mock")
    wished = {"m": "running", "other": "running"}
    for _ in range(8):
        act = choose.choice(["control", "gateway", "worker", "stop", "start"])
        model = choose.choice(sorted(wished))
        if act in ("stop", "start"):
            done = yard.run(act, model, "--no-wait")
            if done.returncode == 0:
                wished[model] = "stopped" if act == "stop" else "running"
        elif act == "worker":
            for process in instance_processes(yard.home)[:1]:
                os.kill(process.pid, signal.SIGKILL)
        elif yard.process(act):
            kill(yard, act)
    eventually(lambda: answers(yard), "an answer")
    for model, state in wished.items():
        eventually(lambda model=model, state=state: yard.state(model) == state, f"{model} {state}", 40)  # type: ignore[misc]
    assert len(instance_processes(yard.home)) == sum(1 for state in wished.values() if state == "running")
