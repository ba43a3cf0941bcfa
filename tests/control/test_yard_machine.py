"""Random histories of a whole yard: many models on few devices, everybody who asks, and everything that fails.

The actors, the admission and the demand book are the real ones; the database, the gateway and the machine under
them are simulated (:mod:`tests.control.yard`), and passes over different models are held and interleaved at every
call that they make. The invariants are checked at each launch and each write, and between any two events.

Two control processes never act on one site at a time, for two reasons that the simulation keeps apart. The
process that drives a site holds the lock of its home (flock) until it ends, so its successor begins only when
none of its passes can go on: after a takeover the former's calls of the gateway and the backend end in nothing.
What may outlive it is a write that it had sent: that one reaches the database late, with a token that is no
longer the newest, and must be refused. A pass writes before it acts, so a process that had lost its lease
unnoticed stops there too, unless it only repeats an act of which nothing is to be written; that the lock rules out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelyard.domain import commands, steering
from modelyard.domain.capacity import KINDS, NOTHING, add_up, left_of
from modelyard.domain.commands import Asked, Change
from modelyard.domain.model import InstancePhase, Model, Quota, StopMode
from modelyard.domain.spec import (
    Autoscaling,
    Canary,
    Engine,
    Preempt,
    Replicas,
    Resources,
    Rollout,
    Spec,
    Strategy,
)
from modelyard.domain.states import RunState, State
from tests.control.yard import GIB, MOCK, Yard

# When nothing has changed for so many minutes, nothing will: no deadline or pause between retries is longer.
_PATIENCE = 12
NAMES = ("a", "b", "c", "d", "e", "f")
NAMESPACES = ("default", "other")

replicas = st.sampled_from([Replicas(), Replicas(), Replicas(min=2, max=2), Replicas(min=1, max=3)])
scalings = st.sampled_from(
    [
        Autoscaling(),
        Autoscaling(idle_after=30.0, wake_timeout=60.0),
        Autoscaling(target=1.0, cooldown=5.0, warm_up=5.0, scale_down_delay=20.0),
        Autoscaling(target=2.0, idle_after=60.0, scale_down_delay=10.0),
    ]
)


def mock(
    gpus: int, memory: int, cpu: float | None, count: Replicas, scaling: Autoscaling, priority: int, preempt: Preempt,
    pin: bool, strategy: Strategy, deadline: float, canary: Canary | None, word: int,
) -> Spec:  # fmt: skip
    return replace(
        MOCK,
        resources=Resources(gpus=gpus, memory=memory * GIB or None, cpu=cpu),
        replicas=count,
        autoscaling=scaling,
        priority=priority,
        preempt=preempt,
        pin=pin,
        rollout=Rollout(strategy=strategy, progress_deadline=deadline, canary=canary),
        options={"latency_ms": word},
    )


def server(word: str, gpus: int) -> Spec:
    """Two of these cannot live side by side: they have one port."""
    options = {"command": [word], "port": 9000}
    return Spec(engine=Engine.COMMAND, options=options, resources=Resources(gpus=gpus))


mocks = st.builds(
    mock,
    st.sampled_from([1, 0, 1, 2]),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([None, None, 2.0]),
    replicas,
    scalings,
    st.sampled_from([0, 0, 1, 5]),
    st.sampled_from(list(Preempt)),
    st.sampled_from([False, False, True]),
    st.sampled_from(list(Strategy)),
    st.sampled_from([600.0, 30.0]),
    st.sampled_from([None, None, Canary(steps=(30, 60), interval=5, min_requests=50, max_wait=30)]),
    st.integers(0, 2),
)
specs = mocks | mocks | mocks | st.builds(server, st.sampled_from(["x", "y"]), st.integers(0, 1))
which = st.integers(0, 5)
modes = st.sampled_from([(StopMode.FORCE, 0.0), (StopMode.DRAIN, 20.0), (StopMode.DRAIN, 0.0)])

PLAIN: dict[str, Callable[[Model, Asked], Change]] = {
    "start": commands.start,
    "start without autoscaling": lambda m, a: commands.start(m, a, restore_autoscaling=False),
    "restart": commands.restart,
    "redeploy": commands.redeploy,
    "pause": steering.pause_rollout,
    "resume": steering.resume_rollout,
    "force": steering.force_rollout,
    "promote": steering.promote_rollout,
}


class TheYard(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.yard = Yard()
        self.revisions: dict[tuple[str, int], Spec] = {}

    @initialize(
        first=st.lists(st.tuples(specs, st.sampled_from(NAMESPACES)), min_size=3, max_size=5),
        quota=st.sampled_from([Quota(), Quota(gpus=1), Quota(memory=4 * GIB), Quota(cpu=3.0, gpus=2)]),
    )
    def begin(self, first: list[tuple[Spec, str]], quota: Quota) -> None:
        self.yard.set_quota("other", quota)
        for name, (spec, namespace) in zip(NAMES, first, strict=False):
            self.yard.deploy(name, spec, namespace=namespace)
        self.yard.advance(3)

    def _name(self, number: int) -> str | None:
        names = [m.name for m in self.yard.database.models.values()]
        return names[number % len(names)] if names else None

    def _command(self, number: int, decide: Callable[[Model, Asked], Change], *, told: bool = True) -> None:
        name = self._name(number)
        if name is not None:
            self.yard.command(name, decide, told=told)

    # ------------------------------------------------------------------ what users do

    @rule(name=st.sampled_from(NAMES), spec=specs, desired=st.sampled_from(["running", "stopped"]))
    def deploy(self, name: str, spec: Spec, desired: str) -> None:
        self.yard.deploy(name, spec, desired, namespace="other" if name in "bd" else "default")

    @rule(number=which, what=st.sampled_from(sorted(PLAIN)), told=st.booleans())
    def ask(self, number: int, what: str, told: bool) -> None:
        self._command(number, PLAIN[what], told=told)

    @rule(number=which)
    def start(self, number: int) -> None:
        self._command(number, commands.start)

    @rule(number=which, how=modes, told=st.booleans())
    def stop(self, number: int, how: tuple[StopMode, float], told: bool) -> None:
        self._command(number, lambda m, a: commands.stop(m, *how, a), told=told)

    @rule(number=which, spec=specs, bad=st.booleans())
    def update(self, number: int, spec: Spec, bad: bool) -> None:
        name = self._name(number)
        if name is None:
            return
        model = self.yard.model(name)
        if spec.backend == model.spec.backend:
            if bad:
                self.yard.machine.bad.add((model.uid, model.generation + 1))
            self.yard.update(name, spec)

    @rule(number=which, generation=st.integers(1, 3))
    def roll_back(self, number: int, generation: int) -> None:
        name = self._name(number)
        if name is not None:
            kept = self.yard.database.revisions[self.yard.uid(name)]
            revision = kept[(generation - 1) % len(kept)]
            self._command(number, lambda m, a: commands.rollback(m, revision, a))

    @rule(number=which, how=modes)
    def terminate(self, number: int, how: tuple[StopMode, float]) -> None:
        name = self._name(number)
        if name is not None and self.yard.processes(name):
            instance = self.yard.processes(name)[0].id
            self._command(number, lambda m, a: commands.terminate(m, instance, *how, a))

    @rule(number=which)
    def cancel_the_rollout(self, number: int) -> None:
        name = self._name(number)
        if name is not None:
            running = self.yard.database.running(self.yard.uid(name))
            self._command(number, lambda m, a: steering.cancel_rollout(m, running, a))

    @rule(number=which, last=st.booleans())
    def cancel_an_operation(self, number: int, last: bool) -> None:
        name = self._name(number)
        running = self.yard.database.running(self.yard.uid(name)) if name is not None else []
        if running:
            operation = running[-1 if last else 0]
            self._command(number, lambda m, a: steering.cancel_operation(m, operation, a))

    @rule(number=which, how=modes)
    def delete(self, number: int, how: tuple[StopMode, float]) -> None:
        name = self._name(number)
        if name is not None:
            self.yard.delete(name, *how)

    @rule(quota=st.sampled_from([Quota(), Quota(gpus=1), Quota(memory=4 * GIB)]))
    def change_the_quota(self, quota: Quota) -> None:
        self.yard.set_quota("other", quota)

    # ------------------------------------------------------------------ what callers do

    @rule(number=which, times=st.integers(1, 4))
    def call(self, number: int, times: int) -> None:
        name = self._name(number)
        for _ in range(times if name is not None else 0):
            self.yard.call(str(name))

    @rule()
    def requests_end(self) -> None:
        self.yard.end_requests()

    # ------------------------------------------------------------------ what the world does

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0, 31.0, 65.0, 130.0]))
    def time_passes(self, seconds: float) -> None:
        self.yard.advance(seconds)

    @rule(seconds=st.sampled_from([1.0, 70.0, 700.0]))
    def everybody_is_late(self, seconds: float) -> None:
        self.yard.advance(seconds, settle=False)

    @rule(seconds=st.sampled_from([-30.0, -4000.0, 90_000.0, 61.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.yard.now += timedelta(seconds=seconds)

    @rule()
    def settle(self) -> None:
        self.yard.settle()

    @rule(number=which, permanent=st.sampled_from([False, False, False, True]))
    def an_instance_crashes(self, number: int, permanent: bool) -> None:
        processes = sorted(self.yard.machine.processes)
        if processes:
            self.yard.machine.crash(processes[number % len(processes)], permanent=permanent)

    @rule(number=which, how=st.sampled_from(["failing", "slow"]))
    def starts_go_wrong_or_well(self, number: int, how: str) -> None:
        name = self._name(number)
        if name is not None:
            troubled: set[str] = getattr(self.yard.machine, how)
            troubled ^= {self.yard.uid(name)}

    @rule(number=which)
    def an_instance_cannot_be_killed_for_a_while(self, number: int) -> None:
        processes = sorted(self.yard.machine.processes)
        if processes:
            self.yard.machine.immortal ^= {processes[number % len(processes)]}

    @rule(devices=st.integers(0, 2), memory=st.sampled_from([2 * GIB, 8 * GIB]))
    def devices_come_and_go(self, devices: int, memory: int) -> None:
        self.yard.set_inventory(devices=devices, memory=memory)

    @rule()
    def the_gateway_starts_anew(self) -> None:
        self.yard.gateway.restart()

    # ------------------------------------------------------------------ control processes

    @precondition(lambda self: self.yard.plane is not None)
    @rule(number=which, points=st.integers(0, 9))
    def a_pass_is_held_in_the_middle(self, number: int, points: int) -> None:
        plane = self.yard.plane
        assert plane is not None
        if plane.models:
            plane.step(list(plane.models)[number % len(plane.models)], points)
            if not plane.alive:
                self.yard.plane = None

    @precondition(lambda self: self.yard.plane is not None)
    @rule()
    def held_passes_go_on(self) -> None:
        self._let_go()
        self.yard.settle()

    @precondition(lambda self: self.yard.plane is not None)
    @rule(effects=st.integers(0, 12))
    def the_control_process_dies(self, effects: int) -> None:
        plane = self.yard.plane
        assert plane is not None
        self._let_go()
        plane.dies_after = plane.effects + effects
        self.yard.settle()
        self.yard.crash()

    @rule()
    def a_control_process_begins(self) -> None:
        if self.yard.plane is None:
            self.yard.boot()

    @precondition(lambda self: self.yard.plane is not None)
    @rule()
    def another_control_process_takes_over(self) -> None:
        self.yard.take_over()

    @rule()
    def the_former_one_goes_on(self) -> None:
        self.yard.resume_former()

    def _let_go(self) -> None:
        for owned in list(self.yard.plane.models.values()) if self.yard.plane else ():
            if owned.under_way is not None:
                owned.under_way.points = None

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def requests_and_instances_agree_with_the_states(self) -> None:
        self.yard.check()

    @invariant()
    def no_revision_is_ever_lost_or_changed(self) -> None:
        found = self.yard.database.revisions
        for (uid, generation), spec in self.revisions.items():
            assert found[uid][generation - 1].spec is spec
        for uid, kept in found.items():
            if uid in self.yard.database.models:
                assert len(kept) == self.yard.database.models[uid].generation
            self.revisions.update({(uid, r.generation): r.spec for r in kept})

    # ------------------------------------------------------------------ left alone, it comes to rest

    def teardown(self) -> None:
        """When nothing fails any more, what fits runs in the order of the queue, and every operation ends but those
        of models that wait for what does not come."""
        if self.yard.broken:
            return
        self._calm_down()
        for left in self.yard.database.models.values():
            self._check_at_rest(left)
        self._check_queue()
        for operation in self.yard.database.operations.values():
            model = self.yard.database.models.get(operation.model_uid)
            if not operation.done:
                assert model is not None, operation
                assert model.status.waiting is not None, (operation, model.status)

    def _calm_down(self) -> None:
        yard, machine = self.yard, self.yard.machine
        yard.resume_former()
        if yard.plane is None:
            yard.boot()
        self._let_go()
        for troubled in (machine.failing, machine.slow, machine.immortal):
            troubled.clear()
        yard.set_inventory(devices=2)
        for model in list(yard.database.models.values()):
            yard.command(model.name, steering.resume_rollout)
        unchanged = 0
        for _ in range(8 * _PATIENCE):
            before = self._picture()
            yard.end_requests()
            yard.settle()
            yard.advance(61.0, settle=False)
            unchanged = unchanged + 1 if self._picture() == before else 0
            if unchanged == _PATIENCE:
                break
        else:
            raise AssertionError("left alone, the yard goes on changing")
        yard.settle()

    def _picture(self) -> list[object]:
        models = self.yard.database.models.values()
        return [(m.uid, m.status.state, m.status.target, m.status.instances, m.status.failures) for m in models]

    def _check_at_rest(self, model: Model) -> None:
        status = model.status
        ready = [i for i in status.instances if i.phase is InstancePhase.READY]
        if model.desired is RunState.STOPPED:
            assert status.state is State.STOPPED, status
        elif status.state is State.RUNNING:
            # It may have gone back to what lives only once.
            enough = 1 if model.target_spec.is_exclusive else model.spec.replicas.min
            assert status.waiting is not None or len(ready) >= enough, status
        elif status.state is State.IDLE:
            assert model.spec.autoscaling.idle_after is not None
            assert not self.yard.machine.of(model.uid)
        elif status.state is State.ERROR:
            # One that kept failing may have lost its place by now, and waits for another.
            assert status.waiting is not None or (status.failure is not None and status.failure.permanent), status
        elif status.state is State.QUEUED:
            assert status.waiting is not None
            assert not self.yard.machine.of(model.uid)
        else:
            # It has some, and waits for the rest.
            assert status.waiting is not None, status
            assert ready, status

    def _check_queue(self) -> None:
        plane = self.yard.plane
        assert plane is not None
        ledger = self.yard.machine.ledger()
        before: set[str] = set()
        for uid in [ref.uid for ref in plane.admission.waiting]:
            model = self.yard.database.models[uid]
            waiting = model.status.waiting
            if waiting is None:
                continue
            claim = plane.admission._claims[uid]
            held = add_up(h.amount for h in ledger.holdings if h.ref.namespace == model.namespace)
            left = left_of(self.yard.database.namespaces[model.namespace].quota, NOTHING) - held
            short = claim.each.short_of(left) if waiting.reason == "QuotaExceeded" else claim.each.short_of(ledger.free)
            assert short or before & set(waiting.kinds), (model.ref, waiting, ledger.free)
            rivals = [h for h in ledger.holdings if h.ref.uid != uid and any(h.amount.of(k) for k in waiting.kinds)]
            if waiting.reason == "InsufficientCapacity" and rivals:
                assert waiting.holders, waiting
            if waiting.reason == "InsufficientCapacity":
                # All that it claims is saved up for it, not only what there is too little of now.
                before |= {kind for kind in KINDS if claim.each.of(kind)}


# Those of a soak are drawn anew each time: MODELYARD_HISTORIES=20000 pytest tests/control/test_yard_machine.py
HISTORIES = int(os.environ.get("MODELYARD_HISTORIES", "500"))

TheYard.TestCase.settings = settings(
    max_examples=HISTORIES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestTheYard = TheYard.TestCase
