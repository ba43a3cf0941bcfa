"""A whole yard in virtual time: a database, a gateway, a machine, many models, and control processes that come and go.

What must hold at each launch and at each write is checked here, at the moment it happens.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from modelyard.domain import commands
from modelyard.domain.capacity import NOTHING, UNUSED_AFTER, add_up, amount_of, left_of
from modelyard.domain.commands import Asked, Change
from modelyard.domain.errors import AlreadyExists, InvalidRequest, ModelyardError, NotFound, Refused
from modelyard.domain.model import InstancePhase, Model, Namespace, Quota, StopMode
from modelyard.domain.operations import Operation, OperationKind
from modelyard.domain.spec import Engine, Preempt, Resources, Spec
from modelyard.domain.states import RunState, State
from tests.control.machine import Machine, Process
from tests.control.memory import Database, Switchboard
from tests.control.plane import Died, Plane

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
GIB = 2**30
Decide = Callable[[Model, Asked], Change]


class Yard:
    """``now`` is the wall clock, which may jump; ``monotonic`` never does. ``count`` grows with all that happens."""

    def __init__(self, *, devices: int = 2, cpu: float = 8.0, memory: int = 8 * GIB) -> None:
        self.now = EPOCH
        self.monotonic = 1000.0
        self.count = 0
        self.database = Database()
        self.database.namespaces["default"] = Namespace(name="default", created_at=EPOCH)
        self.gateway = Switchboard(lambda: self.monotonic, lambda: self.count, self._changed)
        self.machine = Machine(
            lambda: self.now, lambda: self.monotonic, self._changed, self._gone, self.gateway.busy
        )  # fmt: skip
        self._ids = itertools.count(1)
        # When, by the count, a wish, a quota or the inventory was last changed under a pass.
        self.stopped_at: dict[str, int] = {}
        self.capacity_changed_at = 0
        self.spec_changed_at: dict[str, int] = {}
        # Who was asked to make room, and by whom.
        self.asked: defaultdict[str, set[str]] = defaultdict(set)
        self.loads_told_at = 0
        # Something that must not happen has.
        self.broken = False
        self.former: Plane | None = None
        self.plane: Plane | None = None
        self.set_inventory(devices=devices, cpu=cpu, memory=memory)
        self.boot()

    # ------------------------------------------------------------------ control processes

    def boot(self) -> Plane:
        """A new control process takes the lease and the lock."""
        self.database.token += 1
        self.loads_told_at = self.count
        self.plane = Plane(self, self.database.token)
        return self.plane

    def crash(self) -> None:
        """The control process dies, wherever its passes are."""
        if self.plane is not None:
            self.plane.die()
        self.plane = None

    def take_over(self) -> None:
        """A second control process begins while the first is in the middle of its passes."""
        if self.plane is not None:
            self.former = self.plane
        self.boot()

    def resume_former(self) -> None:
        """What the first one still had on its way reaches the database, or nobody."""
        former, self.former = self.former, None
        if former is None:
            return
        for uid, owned in list(former.models.items()):
            if owned.under_way is not None and former.alive:
                former.step(uid, None)
        former.die()

    def check_lock(self, plane: Plane) -> None:
        """The lock of the home goes with the process, so whoever no longer holds it has ended."""
        if plane is not self.plane:
            raise Died

    # ------------------------------------------------------------------ what happens by itself

    def settle(self) -> None:
        """All that needs no time."""
        for _ in range(200):
            before = self.count
            if self.plane is not None:
                self.tell_loads()
                self.plane.tick()
                self.plane.run()
                if not self.plane.alive:
                    self.plane = None
            self.machine.tick()
            self.gateway.tick()
            if before == self.count:
                return
        self.broken = True
        raise AssertionError(f"the yard does not come to rest: {self.plane.restless() if self.plane else ''}")

    def advance(self, seconds: float, *, settle: bool = True) -> None:
        """Time passes. Everything happens when it is due; without ``settle`` all that was due happens late."""
        end = self.monotonic + seconds
        while settle:
            self.settle()
            due = (self.machine.next_at(), self.plane.next_at() if self.plane else None, self.gateway.next_at())
            # What is due by now and has not happened waits for a pass that is held, or for a control process.
            at = min((at for at in due if at is not None and at > self.monotonic), default=end)
            if at > end or at == self.monotonic:
                break
            self._pass_to(at)
        self._pass_to(end)
        if settle:
            self.settle()

    def _pass_to(self, at: float) -> None:
        self.now += timedelta(seconds=at - self.monotonic)
        self.monotonic = at

    def set_inventory(self, *, devices: int, cpu: float = 8.0, memory: int = 8 * GIB) -> None:
        self.count += 1
        self.capacity_changed_at = self.count
        self.machine.set_inventory(devices=devices, cpu=cpu, memory=memory)

    def set_quota(self, namespace: str, quota: Quota) -> None:
        self.count += 1
        self.capacity_changed_at = self.count
        known = self.database.namespaces.get(namespace, Namespace(name=namespace, created_at=self.now))
        self.database.namespaces[namespace] = replace(known, quota=quota)

    def call(self, name: str) -> str:
        """A request to a model."""
        uid = self.uid(name)
        outcome = self.gateway.call(uid)
        self.count += 1
        if outcome == "served":
            model = self.database.models[uid]
            assert not self._is_stopped(model), f"{name} is stopped and serves"
        if outcome == "held":
            self.tell_loads()
        return outcome

    def end_requests(self) -> None:
        for uid, traffic in list(self.gateway.traffic.items()):
            for instance in list(traffic.in_flight):
                while self.gateway.busy(uid, instance):
                    self.gateway.end_request(uid, instance)
        self.count += 1

    def tell_loads(self) -> None:
        """The gateway's next report."""
        if self.plane is not None:
            self.loads_told_at = self.count
            loads = self.gateway.loads()
            if loads.models:
                self.plane.take_loads(loads)

    def _changed(self, ref: object) -> None:
        self.count += 1
        if self.plane is not None:
            self.plane.changed(ref)  # type: ignore[arg-type]

    def _gone(self, uid: str, instance: str) -> None:
        self.count += 1
        self.gateway.end_request(uid, instance, cut=True)
        self.machine.immortal.discard(instance)

    # ------------------------------------------------------------------ what users do

    def deploy(self, name: str, spec: Spec, desired: str = "running", namespace: str = "default") -> Operation | None:
        change = commands.create(f"m{next(self._ids)}", namespace, name, spec, RunState(desired), self._asked(), "here")
        written = self._commit(change)
        return None if isinstance(written, ModelyardError) else written.operations[-1]

    def command(self, name: str, decide: Decide, *, told: bool = True) -> Operation | ModelyardError | None:
        """``told``: the control process hears of it at once, and not only when it looks by itself."""
        model = self.database.models[self.uid(name)]
        try:
            change = decide(model, self._asked())
        except (Refused, NotFound, InvalidRequest) as refusal:
            return refusal
        after = change.after
        written = self._commit(change, told=told)
        if isinstance(written, ModelyardError):
            return written
        if after is not None and after.desired is RunState.STOPPED:
            self.stopped_at[model.uid] = self.count
        if after is not None and after.spec != model.spec:
            self.spec_changed_at[model.uid] = self.count
        return written.operations[-1] if written.operations else None

    def start(self, name: str) -> Operation | ModelyardError | None:
        return self.command(name, commands.start)

    def stop(self, name: str, mode: StopMode = StopMode.FORCE, timeout: float = 0.0) -> object:
        return self.command(name, lambda m, a: commands.stop(m, mode, timeout, a))

    def update(self, name: str, spec: Spec) -> Operation | ModelyardError | None:
        return self.command(name, lambda m, a: commands.update(m, spec, a))

    def delete(self, name: str, mode: StopMode = StopMode.FORCE, timeout: float = 0.0) -> object:
        running = self.database.running(self.uid(name))
        earlier = next((o for o in running if o.kind is OperationKind.DELETE), None)
        return self.command(name, lambda m, a: commands.delete(m, mode, timeout, earlier, a))

    def _commit(self, change: Change, *, told: bool = True) -> Change | ModelyardError:
        self.count += 1
        if self.plane is None or not told:
            try:
                return self.database.commit(change)
            except AlreadyExists as error:
                return error
        committing = self.plane.feed.commit(change)
        try:
            committing.send(None)
        except StopIteration as end:
            written: Change = end.value
            return written
        except AlreadyExists as error:
            return error
        raise AssertionError("a command waits for nothing")

    def _asked(self) -> Asked:
        return Asked(actor="tester", reason="", at=self.now, operation_id=f"op-{next(self._ids)}")

    # ------------------------------------------------------------------ looking

    def uid(self, name: str) -> str:
        return next(m.uid for m in self.database.models.values() if m.name == name)

    def model(self, name: str) -> Model:
        return self.database.models[self.uid(name)]

    def state(self, name: str) -> State:
        return self.model(name).status.state

    def processes(self, name: str) -> list[Process]:
        return self.machine.of(self.uid(name))

    # ------------------------------------------------------------------ what must hold

    def launched(self, process: Process, *, since: int) -> None:
        """``since`` is when the pass that launched it began: what has changed after that, it need not know."""
        uid = process.ref.uid
        model = self.database.models[uid]
        assert not self._is_stopped(model), f"{model.ref} is stopped and was launched"
        if model.desired is RunState.STOPPED:
            assert self.stopped_at[uid] > since, f"{model.ref} is to stop and was launched"
        owners = [d for p in self.machine.processes.values() for d in p.devices]
        assert len(owners) == len(set(owners)), "a device has two owners"
        if process.spec.is_exclusive:
            assert len(self.machine.of(uid)) == 1, "two instances cannot have one port"
        if self.capacity_changed_at > since or process.spec.resources == Resources():
            return
        assert not process.refused, f"{model.ref} was launched without a device for it"
        ledger = self.machine.ledger()
        each = amount_of(process.spec.resources)
        # A machine that has lost something may be short of what this one does not need.
        over = [k for k in ledger.held.short_of(ledger.inventory.total) if each.of(k)]
        assert not over, f"{model.ref} was launched and does not fit"
        held = add_up(h.amount for h in ledger.holdings if h.ref.namespace == model.namespace)
        quota = left_of(self.database.namespaces[model.namespace].quota, NOTHING)
        assert not [k for k in held.short_of(quota) if each.of(k)], f"{model.ref} was launched over the quota"

    def written(self, change: Change) -> None:
        """What a pass has written."""
        before, after = change.before, change.after
        assert before is not None
        if after is None:
            assert not self.machine.of(before.uid), "deleted was said while something was left"
            return
        wish = (before.desired, before.spec, before.generation)
        assert wish == (after.desired, after.spec, after.generation), "only users change what is wished"
        assert not (self._is_stopped(before) and not self._is_stopped(after)), f"{after.ref} was woken"
        if self._is_stopped(after):
            assert not self.machine.of(after.uid), "stopped was said while something was left"
        if after.status.preempted is not None and before.status.preempted is None:
            self._check_preempted(before, after.status.preempted.by.uid)

    def _check_preempted(self, victim: Model, by: str) -> None:
        assert not victim.spec.pin, f"{victim.ref} is pinned and was preempted"
        assert by in self.asked[victim.uid], f"{victim.ref} made room for {by} unasked"

    def asked_to_make_room(self, uid: str, by: str, *, since: int) -> None:
        """``since`` is when the pass that asks began."""
        self.asked[uid].add(by)
        victim, winner = self.database.models[uid], self.database.models[by]
        # What has changed in the middle of the pass, it need not know.
        if max(self.spec_changed_at.get(uid, 0), self.spec_changed_at.get(by, 0)) > since:
            return
        assert not victim.spec.pin, f"{victim.ref} is pinned and was asked to make room"
        assert winner.spec.preempt is not Preempt.NEVER
        assert victim.spec.priority <= winner.spec.priority
        if winner.spec.preempt is Preempt.IDLE or victim.spec.priority == winner.spec.priority:
            traffic = self.gateway.traffic.get(uid)
            # What changes at the count at which was last told may have changed after that.
            if traffic is None or traffic.changed_at >= self.loads_told_at or self.loads_told_at > since:
                return
            assert not traffic.count, f"{victim.ref} is called and was asked to make room"
            quiet = self.monotonic - traffic.quiet_at
            assert quiet >= UNUSED_AFTER.total_seconds() - 1, f"{victim.ref} was called {quiet} s ago"

    def check(self) -> None:
        """What holds between any two things that happen."""
        for uid, model in self.database.models.items():
            route = self.gateway.routes.get(uid)
            state = model.status.state
            at_rest = state in (State.STOPPED, State.STOPPING, State.DELETING)
            assert at_rest is (model.desired is RunState.STOPPED), model.status
            if state is State.STOPPED:
                assert not self.machine.of(uid), f"{model.ref} is stopped and an instance is there"
                traffic = self.gateway.traffic.get(uid)
                assert not (route and route.instances), f"{model.ref} is stopped and has a route"
                assert not (traffic and traffic.held), f"{model.ref} is stopped and requests wait for it"
            for id_ in route.instances if route else ():
                p = self.machine.processes.get(id_)
                assert p is None or (p.phase is not InstancePhase.STARTING and not p.asked), "requests go to it"

    @staticmethod
    def _is_stopped(model: Model) -> bool:
        return model.status.state is State.STOPPED


MOCK = Spec(engine=Engine.MOCK)


def gpu(count: int = 1, **changes: object) -> Spec:
    """A model each instance of which holds so many devices."""
    return replace(MOCK, resources=Resources(gpus=count), **changes)  # type: ignore[arg-type]
