"""The control process dies after every single effect of a scenario, and the next one comes to the same end.

An effect is whatever changes something outside the process: a route told, a commit, an instance launched, ended or
forgotten. Each scenario runs once to count its effects and then once for every one of them: enumerated, not
sampled. The next process knows only what the database, the gateway and the machine do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from modelyard.domain import commands
from modelyard.domain.model import StopMode
from modelyard.domain.spec import Autoscaling, Canary, Preempt, Replicas, Rollout, Spec, Strategy
from tests.control.yard import Yard, gpu

# How long the next control process takes to come up: at once, or so late that what was under way has gone on.
GAPS = (0.0, 3.0)
# Two deaths in one scenario are tried for so many of its first effects.
PAIRS_WITHIN = 12
# What is told once, however often the telling is interrupted.
TOLD_ONCE = ("InstanceFailed", "RolledBack", "CanaryPromoted", "Released", "Woken", "Deleted")

Step = Callable[[Yard], object]


@dataclass(frozen=True)
class Scenario:
    """``prepare`` comes to rest first; ``script`` is what happens then, each so many seconds after the one before."""

    name: str
    prepare: Step
    script: tuple[tuple[float, Step], ...]
    lasts: float = 30.0
    # Whether its course depends on when things are done: then the next control process comes up at once.
    timed: bool = False


def _serving(spec: Spec, *others: tuple[str, Spec], bad: bool = False) -> Step:
    def prepare(yard: Yard) -> None:
        yard.deploy("a", spec)
        for name, other in others:
            yard.deploy(name, other)
        yard.advance(5)
        if bad:
            yard.machine.bad.add((yard.uid("a"), 2))

    return prepare


def _stopped(yard: Yard) -> None:
    yard.deploy("a", replace(gpu(), replicas=Replicas(min=2, max=2)), "stopped")


def _called(prepare: Step) -> Step:
    def prepare_and_call(yard: Yard) -> None:
        prepare(yard)
        yard.call("a")

    return prepare_and_call


def _update(strategy: Strategy = Strategy.AUTO, canary: Canary | None = None) -> Step:
    def update(yard: Yard) -> None:
        spec, rollout = yard.model("a").spec, Rollout(strategy=strategy, canary=canary)
        yard.update("a", replace(spec, options={"latency_ms": 7}, rollout=rollout))

    return update


def _terminate(yard: Yard) -> None:
    instance = yard.processes("a")[0].id
    yard.command("a", lambda m, a: commands.terminate(m, instance, StopMode.DRAIN, 5.0, a))


def _end(yard: Yard) -> None:
    yard.end_requests()


TWO = Replicas(min=2, max=2)
CANARY = Canary(steps=(30, 60), interval=5, min_requests=50)
SCENARIOS = [
    Scenario("start", _stopped, ((0, lambda y: y.start("a")),)),
    Scenario("start that fails at first", _stopped, (
        (0, lambda y: y.machine.failing.add(y.uid("a"))), (0, lambda y: y.start("a")),
        (2, lambda y: y.machine.failing.clear()),
    ), lasts=60, timed=True),
    Scenario("stop by force", _called(_serving(replace(gpu(), replicas=TWO))), ((0, lambda y: y.stop("a")),)),
    Scenario("stop that drains", _called(_serving(gpu())), (
        (0, lambda y: y.stop("a", StopMode.DRAIN, 20.0)), (4, _end),
    )),
    Scenario("stop whose time is up", _called(_serving(gpu())), ((0, lambda y: y.stop("a", StopMode.DRAIN, 5.0)),)),
    Scenario("stop in the middle of a start", _stopped, (
        (0, lambda y: y.start("a")), (0.5, lambda y: y.stop("a")),
    ), timed=True),
    Scenario("update beside the old", _called(_serving(gpu())), ((0, _update()), (6, _end)), lasts=60),
    Scenario("update of two on a full machine", _serving(replace(gpu(), replicas=TWO)), ((0, _update()),), lasts=60),
    Scenario("update by replacing", _serving(gpu(2)), ((0, _update(Strategy.REPLACE)),), lasts=60),
    Scenario("update that fails beside the old", _serving(gpu(), bad=True), ((0, _update()),), lasts=60),
    Scenario("update that fails having replaced the old", _serving(gpu(2), bad=True), ((0, _update()),), lasts=60),
    Scenario("update by a canary", _serving(gpu()), ((0, _update(canary=CANARY)),), lasts=60),
    Scenario("update by a canary that fails", _serving(gpu()), (
        (0, lambda y: y.gateway.failing.add((y.uid("a"), 2))), (0, _update(canary=CANARY)),
    ), lasts=60),
    Scenario("restart", _serving(gpu()), ((0, lambda y: y.command("a", commands.restart)),)),
    Scenario("terminate", _called(_serving(replace(gpu(), replicas=TWO))), ((0, _terminate), (2, _end))),
    Scenario("delete", _called(_serving(gpu())), ((0, lambda y: y.delete("a", StopMode.DRAIN, 5.0)),)),
    Scenario("delete of a model that starts", _stopped, (
        (0, lambda y: y.start("a")), (0.5, lambda y: y.delete("a")),
    ), timed=True),
    Scenario("crash of an instance", _serving(replace(gpu(), replicas=TWO)), (
        (0, lambda y: y.machine.crash(y.processes("a")[0].id)),
    ), lasts=70),
    Scenario("sleep and wake", _serving(replace(gpu(), autoscaling=Autoscaling(idle_after=30.0))), (
        (0, lambda y: y.advance(26)), (20, lambda y: y.call("a")), (5, _end),
    ), lasts=10),
    Scenario("preemption", _serving(gpu(2)), (
        (0, lambda y: y.deploy("b", replace(gpu(2), priority=5, preempt=Preempt.LOWER_PRIORITY))),
        (20, lambda y: y.stop("b")),
    )),
    Scenario("another one takes the place", _serving(gpu(2), ("b", gpu(2))), ((0, lambda y: y.stop("a")),)),
]  # fmt: skip


def _drive(scenario: Scenario, deaths: Sequence[int], gap: float) -> tuple[dict[str, Any], int]:
    """What is there at the end, and how many effects the first control process had."""
    yard = Yard(devices=2)
    scenario.prepare(yard)
    yard.settle()
    left = list(deaths)
    first = yard.plane
    assert first is not None
    before = first.effects

    def doom() -> None:
        if yard.plane is not None and left:
            yard.plane.dies_after = yard.plane.effects + left.pop(0)

    def live(seconds: float) -> None:
        end = yard.monotonic + seconds
        while True:
            yard.settle()
            if yard.plane is None:
                yard.advance(gap)
                yard.boot()
                doom()
                continue
            if yard.monotonic >= end:
                return
            yard.advance(min(0.25, end - yard.monotonic))

    doom()
    for after, step in scenario.script:
        live(after)
        step(yard)
    live(scenario.lasts)
    return _end_of(yard), first.effects - before


def _end_of(yard: Yard) -> dict[str, Any]:
    yard.check()
    assert not yard.machine.exits, "an exit was never acknowledged"
    told = Counter(e.type for e in yard.database.events)
    return {
        "models": {m.name: (m.status.state, m.status.target) for m in yard.database.models.values()},
        "instances": sorted((p.ref.name, p.target, p.phase, p.devices) for p in yard.machine.processes.values()),
        "routes": sorted((r.ref.name, r.state, len(r.instances)) for r in yard.gateway.routes.values()),
        "operations": [(o.kind, o.state) for o in yard.database.operations.values()],
        "given up": [r.failure is not None for kept in yard.database.revisions.values() for r in kept],
        "launches": Counter((p.ref.name, p.target) for p in yard.machine.launches),
        "told": {type_: told[type_] for type_ in TOLD_ONCE},
    }


CASES = [(s, gap) for s in SCENARIOS for gap in GAPS if gap == 0.0 or not s.timed]


@pytest.mark.parametrize(("scenario", "gap"), CASES, ids=[f"{s.name}-{gap:g}s".replace(" ", "_") for s, gap in CASES])
def test_a_control_process_that_dies_after_any_effect_comes_to_the_same_end(scenario: Scenario, gap: float) -> None:
    undisturbed, effects = _drive(scenario, (), gap)
    assert effects > 2
    for death in range(1, effects + 1):
        end, _ = _drive(scenario, (death,), gap)
        assert end == undisturbed, f"died after effect {death} of {effects}"


@pytest.mark.parametrize("scenario", SCENARIOS[:6], ids=lambda s: s.name.replace(" ", "_"))
def test_nor_does_one_that_dies_twice(scenario: Scenario) -> None:
    undisturbed, effects = _drive(scenario, (), 0.0)
    for first in range(1, min(effects, PAIRS_WITHIN) + 1):
        for second in range(1, PAIRS_WITHIN - first + 1):
            end, _ = _drive(scenario, (first, second), 0.0)
            assert end == undisturbed, f"died after effect {first} of {effects}, and again after {second} more"
