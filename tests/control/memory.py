"""The database and the gateway of the simulated yard: shared by all control planes, and never asleep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from modelyard.control.ports import ArmLoad, Closed, Fence, LeaseLost, Load, Loads, Route
from modelyard.domain.commands import Change
from modelyard.domain.errors import AlreadyExists, VersionConflict
from modelyard.domain.model import DrainReport, Event, Model, ModelRef, Namespace, Revision
from modelyard.domain.operations import Operation
from modelyard.domain.states import State

# While requests are in flight they are reported this often; a real gateway does it twice a second.
REPORT_EVERY = 5.0
# Requests to a model in one of these are held where its route says so.
HELD_IN = (State.IDLE, State.QUEUED, State.STARTING)


@dataclass
class Database:
    """One commit is all or nothing, by version; one with a token that is not the newest is refused."""

    namespaces: dict[str, Namespace] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    revisions: dict[str, list[Revision]] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    token: int = 0
    refused: int = 0

    def commit(self, change: Change, fence: Fence | None = None) -> Change:
        if fence is not None and fence.token != self.token:
            self.refused += 1
            raise LeaseLost("Another control process drives this site now. Nothing was written.")
        before, after = change.before, change.after
        if before is not None and self.models.get(before.uid, replace(before, version=-1)).version != before.version:
            raise VersionConflict("The model has changed.")
        if any(self._has_ended(o) for o in change.operations):
            raise VersionConflict("The operation has ended.")
        if before is None and after is not None and any(m.ref.name == after.name for m in self.models.values()):
            raise AlreadyExists("The name is taken.")
        self.operations.update({o.id: o for o in change.operations})
        self.events += change.events
        if after is None:
            assert before is not None
            del self.models[before.uid]
            return change
        if change.revision is not None:
            kept = self.revisions.setdefault(after.uid, [])
            assert change.revision.generation == len(kept) + 1, "revisions are never lost nor written twice"
            kept.append(change.revision)
        for generation, failure in change.given_up:
            kept = self.revisions[after.uid]
            kept[generation - 1] = replace(kept[generation - 1], failure=failure)
        if after != before:
            version = 1 if before is None else before.version + 1
            spec = self.revisions[after.uid][after.status.target.generation - 1].spec
            after = self.models[after.uid] = replace(after, version=version, target_spec=spec)
        return replace(change, after=after)

    def running(self, uid: str) -> list[Operation]:
        return [o for o in self.operations.values() if o.model_uid == uid and not o.done]

    def _has_ended(self, operation: Operation) -> bool:
        stored = self.operations.get(operation.id)
        return stored is not None and stored.done


@dataclass
class Traffic:
    """What is asked of one model. ``held`` are the times at which waiting requests give up; ``changed_at`` is the
    world's count of what had happened when any of this last changed."""

    requests: int = 0
    busy: float = 0.0
    at: float = 0.0
    quiet_at: float = 0.0
    changed_at: int = 0
    held: list[float] = field(default_factory=list)
    in_flight: dict[str, int] = field(default_factory=dict)
    report: DrainReport = DrainReport()

    @property
    def count(self) -> int:
        return sum(self.in_flight.values())


class Switchboard:
    """The gateway. Its counts are lost when it starts anew, its routes are not."""

    def __init__(
        self, monotonic: Callable[[], float], count: Callable[[], int], drained: Callable[[ModelRef], None]
    ) -> None:
        self._monotonic, self._count, self._drained = monotonic, count, drained
        self.lives = 1
        self.routes: dict[str, Route] = {}
        self.traffic: dict[str, Traffic] = {}
        # Generations of models whose every request fails, while they are on a canary.
        self.failing: set[tuple[str, int]] = set()
        self._changed: set[str] = set()
        self._told_at = monotonic()

    def set_route(self, route: Route, watch: tuple[str, ...]) -> Closed:
        uid = route.ref.uid
        before = self.routes.get(uid)
        self.routes[uid] = route
        if route.canary != (before.canary if before is not None else None):
            # Requests come at once, as far as the control process is told.
            self._of(uid)
        traffic = self.traffic[uid] if uid in self.traffic else self._of(uid)
        if traffic.held and (route.instances or route.state not in HELD_IN):
            held, self._of(uid).held = traffic.held, []
            for _ in held:
                self.call(uid)
        return Closed(in_flight={i: traffic.in_flight.get(i, 0) for i in watch}, report=traffic.report)

    def remove_route(self, ref: ModelRef) -> None:
        self.routes.pop(ref.uid, None)
        self.traffic.pop(ref.uid, None)
        self._changed.discard(ref.uid)

    def call(self, uid: str) -> str:
        """A request comes in: ``served`` by the least busy instance, ``held`` or ``refused``."""
        route = self.routes.get(uid)
        if route is None:
            return "refused"
        traffic = self._of(uid)
        if route.instances:
            instance = min(route.instances, key=lambda i: (traffic.in_flight.get(i, 0), i))
            traffic.in_flight[instance] = traffic.in_flight.get(instance, 0) + 1
            traffic.requests += 1
            return "served"
        if route.hold is not None and route.state in HELD_IN and len(traffic.held) < route.hold.max_waiting:
            traffic.held.append(self._monotonic() + route.hold.timeout)
            return "held"
        traffic.report = replace(traffic.report, refused=traffic.report.refused + 1)
        return "refused"

    def end_request(self, uid: str, instance: str, *, cut: bool = False) -> None:
        """One request in flight in ``instance`` ends; ``cut``: all of them do, with the instance."""
        if uid not in self.traffic:
            return
        traffic = self._of(uid)
        left = traffic.in_flight.pop(instance, 0) - 1
        if left < 0:
            return
        key = "cut" if cut else "finished"
        traffic.report = replace(traffic.report, **{key: getattr(traffic.report, key) + (left + 1 if cut else 1)})
        if left and not cut:
            traffic.in_flight[instance] = left
        elif uid in self.routes and instance not in self.routes[uid].instances:
            self._drained(self.routes[uid].ref)

    def busy(self, uid: str, instance: str) -> int:
        return self.traffic[uid].in_flight.get(instance, 0) if uid in self.traffic else 0

    def tick(self) -> None:
        """Those that waited too long are told so."""
        now = self._monotonic()
        for uid, traffic in self.traffic.items():
            if any(at <= now for at in traffic.held):
                self._of(uid).held = [at for at in traffic.held if at > now]

    def restart(self) -> None:
        self.lives += 1
        self.traffic.clear()
        self._changed.clear()
        for route in list(self.routes.values()):
            self._drained(route.ref)

    def next_at(self) -> float | None:
        """When something is due next."""
        due = [at for traffic in self.traffic.values() for at in traffic.held]
        if any(traffic.count for traffic in self.traffic.values()):
            due.append(self._told_at + REPORT_EVERY)
        return min(due, default=None)

    def loads(self, *, everything: bool = False) -> Loads:
        """What has changed since the last report, as what is in flight does all the time."""
        now = self._monotonic()
        if now >= self._told_at + REPORT_EVERY:
            self._told_at = now
            self._changed |= {uid for uid, traffic in self.traffic.items() if traffic.count}
        uids = sorted(self.traffic) if everything else sorted(self._changed & self.traffic.keys())
        self._changed.clear()
        return Loads(gateway=f"gateway {self.lives}", at=now, models=tuple(self._load(uid, now) for uid in uids))

    def _load(self, uid: str, now: float) -> Load:
        t = self.traffic[uid]
        busy = t.busy + t.count * (now - t.at)
        quiet = 0.0 if t.count else now - t.quiet_at
        return Load(
            uid=uid, requests=t.requests, busy=busy, in_flight=t.count, waiting=len(t.held), quiet=quiet,
            arms=self._arms(uid),
        )  # fmt: skip

    def _arms(self, uid: str) -> tuple[ArmLoad, ...]:
        canary = self.routes[uid].canary if uid in self.routes else None
        if canary is None or not canary.percent:
            return ()
        return tuple(
            ArmLoad(
                kind="revision", name=str(generation), mark=canary.mark, requests=100,
                errors=100 if (uid, generation) in self.failing else 0, seconds=1.0, buckets=(),
            )
            for generation in (canary.before, canary.after)
        )  # fmt: skip

    def _of(self, uid: str) -> Traffic:
        """Brought up to now, as it is about to change."""
        now = self._monotonic()
        traffic = self.traffic.setdefault(uid, Traffic(at=now, quiet_at=now))
        traffic.busy += traffic.count * (now - traffic.at)
        if traffic.count or traffic.held:
            traffic.quiet_at = now
        traffic.at, traffic.changed_at = now, self._count()
        self._changed.add(uid)
        return traffic
