"""A simulated world for the plan: a backend and a gateway in virtual time, which can fail in every way."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from modelyard.domain import commands
from modelyard.domain.actions import Converge, Forget, Plan, Release, Remove
from modelyard.domain.canary import Evidence
from modelyard.domain.capacity import Claim, Holding, Inventory, Ledger, Room, amount_of
from modelyard.domain.commands import Asked, Change
from modelyard.domain.errors import Refused
from modelyard.domain.model import Amount, DrainReport, Failure, Instance, InstancePhase, Model, ModelRef, Target
from modelyard.domain.observation import Demand, Exit, Observation
from modelyard.domain.operations import Operation, OperationKind, settle
from modelyard.domain.plan import plan
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import RunState, State

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


def claim_of_another(priority: int = 0) -> Claim:
    """What another model wants, and has asked this one to make room for."""
    each = Amount(memory=2**30)
    return Claim(ref=ModelRef("uid-other", "default", "other"), each=each, count=1, since=EPOCH, priority=priority)


@dataclass
class Process:
    """An instance of the simulated backend. ``kill_at``: when a terminating one dies at the latest."""

    id: str
    target: Target
    phase: InstancePhase
    since: datetime
    in_flight: int = 0
    kill_at: datetime | None = None


@dataclass
class World:
    """One model and all that surrounds it. The store is ``model``; nothing else survives a crash of the
    control process but ``processes`` and ``exits``, which belong to the backend."""

    capacity: int = 2**40
    now: datetime = EPOCH
    model: Model | None = None
    processes: dict[str, Process] = field(default_factory=dict)
    exits: dict[str, Exit] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    revisions: dict[int, Spec] = field(default_factory=dict)
    serving: frozenset[str] = frozenset()
    plan: Plan | None = None
    report: DrainReport = DrainReport()
    demand: Demand = Demand()
    canary: Evidence | None = None
    preempted_by: Claim | None = None
    removed: bool = False
    launches: int = 0
    _ids: itertools.count[int] = field(default_factory=itertools.count)

    # ------------------------------------------------------------------ commands

    def asked(self, reason: str = "") -> Asked:
        return Asked(actor="tester", reason=reason, at=self.now, operation_id=f"op-{next(self._ids)}")

    def create(self, spec: Spec, desired: str = "running") -> None:
        self.apply(commands.create("uid", "default", "m", spec, RunState(desired), self.asked()))

    def apply(self, change: Change) -> Change:
        """The store's commit."""
        if change.after is not None:
            self.model = replace(change.after, version=change.after.version + 1)
        if change.revision is not None:
            self.revisions[change.revision.generation] = change.revision.spec
        for operation in change.operations:
            self.operations[operation.id] = operation
        # What the real commit leaves to the next pass of the actor is done by settle() there.
        return change

    def try_command(self, function: object, *args: object) -> Change | Refused:
        assert self.model is not None
        try:
            return self.apply(function(self.model, *args, self.asked()))  # type: ignore[operator]
        except Refused as refusal:
            return refusal

    def running_delete(self) -> Operation | None:
        running = [o for o in self.operations.values() if o.kind is OperationKind.DELETE and not o.done]
        assert len(running) <= 1, "the database allows one running delete a model"
        return running[0] if running else None

    # ------------------------------------------------------------------ the loop

    def observation(self) -> Observation:
        instances = tuple(
            Instance(
                id=p.id,
                target=p.target,
                phase=p.phase,
                address=f"unix:/{p.id}",
                since=p.since,
                held=amount_of(self.revisions[p.target.generation].resources),
            )
            for p in self.processes.values()
        )
        closed = {p.id: p.in_flight for p in self.processes.values() if p.id not in self.serving}
        return Observation(
            instances=instances, exits=tuple(self.exits.values()), closed=closed, drain=self.report,
            demand=self.demand, canary=self.canary,
        )  # fmt: skip

    def room(self) -> Room:
        ref = ModelRef("uid", "default", "m")
        holdings = [
            Holding(ref=ref, instance=p.id, amount=amount_of(self.revisions[p.target.generation].resources))
            for p in self.processes.values()
        ]
        inventory = Inventory(cpu=64, memory=self.capacity)
        return Room(ledger=Ledger(inventory=inventory, holdings=tuple(holdings)), preempted_by=self.preempted_by)

    def reconcile(self, *, crash_after: int | None = None) -> Plan | None:
        """One pass as the actor does it. ``crash_after`` counts the effects (route, write, actions) that
        still happen before the control process dies."""
        if self.model is None:
            return None
        model = replace(self.model, target_spec=self.revisions[self.model.status.target.generation])
        decided = plan(model, self.observation(), self.room(), self.now)
        effects = [lambda: self._route(decided), lambda: self._write(model, decided)]
        effects += [lambda action=action: self._act(action) for action in decided.actions]  # type: ignore[misc]
        if decided.gone:
            effects = [*effects[2:], lambda: self._gone(decided)]
        for effect in effects[:crash_after]:
            effect()
        self.plan = decided
        return decided

    def settle(self, passes: int = 30) -> None:
        """Reconcile and let the backend do its work until nothing changes any more at this moment."""
        for _ in range(passes):
            before = (self.model, dict(self.processes), dict(self.exits), self.serving)
            self.reconcile()
            self.die_politely()
            if before == (self.model, dict(self.processes), dict(self.exits), self.serving):
                return
        raise AssertionError("the plan does not come to rest")

    def _write(self, model: Model, decided: Plan) -> None:
        if decided.status.state is State.STOPPED is not model.status.state:
            assert self.processes == {}, "stopped was said while something was left"
        target = decided.status.target
        self.model = replace(model, status=decided.status, target_spec=self.revisions[target.generation])
        self._settle_operations(self.model)

    def _settle_operations(self, model: Model | None) -> None:
        for operation in list(self.operations.values()):
            self.operations[operation.id] = settle(operation, model, self.now)

    def _route(self, decided: Plan) -> None:
        self.serving = frozenset(decided.serving)

    def _gone(self, decided: Plan) -> None:
        self.model = None
        self._settle_operations(None)

    def _act(self, action: object) -> None:
        match action:
            case Converge(members, launch, surplus, grace):
                self._converge(dict(members), grace, surplus, launch)
            case Release(grace):
                for process in self.processes.values():
                    self._end(process, grace)
            case Forget(exits):
                for exit_id in exits:
                    self.exits.pop(exit_id, None)
            case Remove():
                self.removed = True

    def _converge(
        self, members: dict[Target, int], grace: float, surplus: tuple[str, ...] = (), launch: Target | None = None
    ) -> None:
        live = [p for p in self.processes.values() if p.phase is not InstancePhase.TERMINATING]
        for process in live:
            if process.target not in members or process.id in surplus:
                self._end(process, grace)
        for target, count in members.items():
            mine = [p for p in live if p.target == target and p.id not in surplus]
            for process in mine[count:]:
                self._end(process, grace)
            for _ in range(count - len(mine) if target == launch else 0):
                self.launches += 1
                new = Process(f"i{next(self._ids)}", target, InstancePhase.STARTING, self.now)
                self.processes[new.id] = new

    def _end(self, process: Process, grace: float) -> None:
        kill_at = self.now + timedelta(seconds=grace)
        process.phase = InstancePhase.TERMINATING
        process.kill_at = min(process.kill_at or kill_at, kill_at)

    # ------------------------------------------------------------------ what the world does

    def advance(self, seconds: float) -> None:
        """Time passes (or jumps, also backwards); terminating processes die when their time is up."""
        self.now += timedelta(seconds=seconds)
        for process in list(self.processes.values()):
            if process.kill_at is not None and process.kill_at <= self.now:
                del self.processes[process.id]

    def die_politely(self) -> None:
        """Terminating instances with nothing in flight exit by themselves."""
        for process in list(self.processes.values()):
            if process.phase is InstancePhase.TERMINATING and (process.in_flight == 0 or process.kill_at == self.now):
                del self.processes[process.id]

    def become_ready(self, process_id: str | None = None) -> None:
        for process in self.processes.values():
            if process.phase is InstancePhase.STARTING and process_id in (None, process.id):
                process.phase, process.since = InstancePhase.READY, self.now

    def crash_instance(self, process_id: str, code: str = "crashed", *, permanent: bool = False) -> None:
        process = self.processes.pop(process_id)
        if process.phase is InstancePhase.TERMINATING:
            return
        failure = Failure(code=code, message=f"{process_id} {code}", permanent=permanent, log=("last line",))
        self.exits[process_id] = Exit(id=process_id, target=process.target, at=self.now, failure=failure)


SPEC = Spec(engine=Engine.MOCK)
