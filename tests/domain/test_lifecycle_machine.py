"""Random histories of commands, failures, crashes of the control process and clock jumps; the rules always hold.

The invariants are the design's rules marked *must*: stop always wins; stopped means that nothing is
left (checked in the world, when the state is written); a stopped model is never woken; nothing of the
configuration and the history is lost.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelyard.domain import commands, steering
from modelyard.domain.actions import Converge
from modelyard.domain.errors import Refused
from modelyard.domain.model import InstancePhase, StopMode
from modelyard.domain.spec import Engine, Replicas, Resources, Spec
from modelyard.domain.states import RunState, State
from tests.domain.world import SPEC, World

mocks = st.builds(
    lambda latency, count, memory, text: replace(
        SPEC,
        options={"latency_ms": latency},
        replicas=Replicas(min=count, max=max(count, 3)),
        resources=Resources(memory=memory),
        description=text,
    ),
    st.integers(0, 2),
    st.integers(1, 3),
    st.sampled_from([None, 2**30, 3 * 2**30]),
    st.sampled_from(["", "other"]),
)
# Two of these cannot live side by side: they have one port.
servers = st.builds(
    lambda word: Spec(engine=Engine.COMMAND, options={"command": [word], "port": 9000}), st.sampled_from(["a", "b"])
)
specs = mocks | servers


class Lifecycle(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(capacity=4 * 2**30)
        self.history: dict[int, Spec] = {}
        self.launches_at_stop: int | None = None

    @initialize(spec=specs, desired=st.sampled_from(["running", "stopped"]))
    def create(self, spec: Spec, desired: str) -> None:
        self.world.create(spec, desired)
        self._remember()

    def _remember(self) -> None:
        self.history.update(self.world.revisions)

    def alive(self) -> bool:
        return self.world.model is not None

    # ------------------------------------------------------------------ what users do

    @precondition(alive)
    @rule(mode=st.sampled_from(list(StopMode)), timeout=st.sampled_from([0.0, 5.0, 60.0]))
    def stop(self, mode: StopMode, timeout: float) -> None:
        outcome = self.world.try_command(lambda m, asked: commands.stop(m, mode, timeout, asked))
        model = self.world.model
        assert model is not None
        if isinstance(outcome, Refused):
            assert model.status.state is State.DELETING
        else:
            assert model.desired is RunState.STOPPED

    @precondition(alive)
    @rule()
    def start(self) -> None:
        self.world.try_command(commands.start)

    @precondition(alive)
    @rule()
    def restart(self) -> None:
        self.world.try_command(commands.restart)

    @precondition(alive)
    @rule(spec=specs)
    def update(self, spec: Spec) -> None:
        self.world.try_command(lambda m, asked: commands.update(m, spec, asked))
        self._remember()

    @precondition(alive)
    @rule(mode=st.sampled_from(list(StopMode)))
    def delete(self, mode: StopMode) -> None:
        self.world.try_command(lambda m, asked: commands.delete(m, mode, 30.0, self.world.running_delete(), asked))

    @precondition(lambda self: self.alive() and any(not o.done for o in self.world.operations.values()))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        running = [o for o in self.world.operations.values() if not o.done]
        operation = data.draw(st.sampled_from(running))
        self.world.try_command(lambda m, asked: steering.cancel_operation(m, operation, asked))

    # ------------------------------------------------------------------ what the world does

    @rule()
    def reconcile(self) -> None:
        self.world.reconcile()

    @rule(effects=st.integers(0, 4))
    def reconcile_and_crash(self, effects: int) -> None:
        self.world.reconcile(crash_after=effects)

    @rule(seconds=st.sampled_from([0.0, 0.5, 5.0, 61.0, 400.0, -30.0, -4000.0, 90_000.0]))
    def time_passes_or_jumps(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def instances_become_ready(self) -> None:
        self.world.become_ready()

    @precondition(lambda self: bool(self.world.processes))
    @rule(data=st.data(), permanent=st.booleans())
    def an_instance_crashes(self, data: st.DataObject, permanent: bool) -> None:
        victim = data.draw(st.sampled_from(sorted(self.world.processes)))
        self.world.crash_instance(victim, permanent=permanent)

    @precondition(lambda self: bool(self.world.processes))
    @rule(data=st.data(), count=st.integers(0, 3))
    def requests_come_and_go(self, data: st.DataObject, count: int) -> None:
        victim = data.draw(st.sampled_from(sorted(self.world.processes)))
        process = self.world.processes[victim]
        # Only an instance that is served to gets new requests; any may finish what it has.
        process.in_flight = count if victim in self.world.serving else min(count, process.in_flight)

    @rule()
    def terminating_instances_exit(self) -> None:
        self.world.die_politely()

    @rule(capacity=st.sampled_from([0, 2**30, 4 * 2**30]))
    def capacity_changes(self, capacity: int) -> None:
        self.world.capacity = capacity

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def a_stopped_model_is_never_launched_nor_served(self) -> None:
        model, decided = self.world.model, self.world.plan
        if model is None or decided is None or model.desired is RunState.RUNNING:
            return
        if decided.status.state in (State.STOPPED, State.STOPPING, State.DELETING):
            assert decided.serving == ()
            assert not any(isinstance(a, Converge) for a in decided.actions)

    @invariant()
    def the_state_agrees_with_the_wish(self) -> None:
        model = self.world.model
        if model is not None:
            at_rest = model.status.state in (State.STOPPED, State.STOPPING, State.DELETING)
            assert at_rest is (model.desired is RunState.STOPPED)

    @invariant()
    def no_revision_is_ever_lost_or_changed(self) -> None:
        for generation, spec in self.history.items():
            assert self.world.revisions[generation] == spec
        if self.world.model is not None:
            assert sorted(self.world.revisions) == list(range(1, self.world.model.generation + 1))

    @invariant()
    def never_more_instances_than_old_and_new_together_want(self) -> None:
        live = [p for p in self.world.processes.values() if p.phase is not InstancePhase.TERMINATING]
        assert len([p for p in live if p.phase is InstancePhase.STARTING]) <= 3 * 3

    @invariant()
    def what_has_one_port_lives_once(self) -> None:
        exclusive = [p for p in self.world.processes.values() if self.world.revisions[p.target.generation].is_exclusive]
        assert len(exclusive) <= 1

    @invariant()
    def requests_only_go_to_ready_instances_of_a_running_model(self) -> None:
        decided = self.world.plan
        if decided is not None:
            ready = {i.id for i in decided.status.instances if i.phase is InstancePhase.READY}
            assert set(decided.serving) <= ready

    # ------------------------------------------------------------------ left alone, it comes to rest

    def teardown(self) -> None:
        """When the world calms down (room, no more crashes, time), the wish comes true and every operation ends."""
        world = self.world
        if world.model is None:
            return
        world.capacity = 64 * 2**30
        for process in world.processes.values():
            process.in_flight = 0
        for _ in range(40):
            world.settle()
            world.become_ready()
            if world.model is None:
                break
            world.advance(120)
        model = world.model
        if model is None:
            assert world.processes == {}
        elif model.desired is RunState.STOPPED:
            assert model.status.state is State.STOPPED
            assert world.processes == {}
        else:
            blocked = model.status.failure is not None and model.status.failure.permanent and not world.processes
            assert model.status.state is (State.ERROR if blocked else State.RUNNING), model.status
        assert all(o.done for o in world.operations.values())


Lifecycle.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestLifecycle = Lifecycle.TestCase
