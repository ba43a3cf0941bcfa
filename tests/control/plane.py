"""One control process of the simulated yard: real actors, admission and demand, stepped by hand in virtual time.

What is here beside them is what :class:`modelyard.control.reconciler.Reconciler` does with tasks and timers.
Every call that an actor makes is a point at which its pass can be held, and every effect one after which the
process can die.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from modelyard.backends.port import Backend, BackendObservation, Member
from modelyard.control.actor import ModelActor, Outcome, Surroundings
from modelyard.control.admission import Admission
from modelyard.control.changes import ChangeFeed
from modelyard.control.demand import DemandBook
from modelyard.control.ports import Closed, Fence, Gateway, Idempotency, LeaseLost, Loads, Route, Store
from modelyard.control.reconciler import RESYNC
from modelyard.control.traffic import TrafficBook
from modelyard.domain.actions import Plan
from modelyard.domain.capacity import Ledger, add_up
from modelyard.domain.commands import Change
from modelyard.domain.model import Amount, Model, ModelRef, Namespace
from modelyard.domain.operations import Operation
from modelyard.domain.spec import Spec

if TYPE_CHECKING:
    from tests.control.yard import Yard

RETRY = 0.2
# Passes at one moment, for each model, after which it is plain that they never come to rest.
TOO_MANY = 60


class Died(BaseException):
    """The control process has ended at this point."""


class _Pause:
    def __await__(self) -> Generator[None, None, None]:
        yield


class _Door:
    """What :class:`asyncio.Lock` is to tasks, for passes."""

    def __init__(self) -> None:
        self.open = True

    async def __aenter__(self) -> None:
        while not self.open:
            await _Pause()
        self.open = False

    async def __aexit__(self, *_: object) -> None:
        self.open = True


class _Admission(Admission):
    """The real one, which also tells the world who is asked to make room. Nobody is looked at for nothing here:
    that would hide who is not looked at when they should be."""

    abreast = 0

    def __init__(self, plane: Plane) -> None:
        super().__init__(lambda: plane.world.monotonic)
        self._plane = plane

    def note(self, model: Model, plan: Plan) -> tuple[ModelRef, ...]:
        here = self._plane.current
        for ref in plan.preempts:
            assert here is not None
            self._plane.world.asked_to_make_room(ref.uid, model.uid, since=here.began)
        return super().note(model, plan)


@dataclass
class Pass:
    """One pass under way. ``points`` are the calls that it may still make before it is held; None: all.
    ``began`` is the world's count of what has happened by then."""

    uid: str
    coroutine: Coroutine[Any, Any, Outcome]
    began: int
    points: int | None = None

    @property
    def held(self) -> bool:
        return self.points == 0


@dataclass
class Owned:
    actor: ModelActor
    posted: bool = True
    wake_at: float | None = None
    under_way: Pass | None = None


class Plane:
    """Drives every model of the yard until it dies, or loses its lease to the next."""

    def __init__(self, world: Yard, token: int) -> None:
        self.world = world
        self.alive = True
        self.effects = 0
        self.dies_after: int | None = None
        self.models: dict[str, Owned] = {}
        self.current: Pass | None = None
        self._inventory = world.machine.inventory
        self.admission = _Admission(self)
        self.admission.door = cast(Any, _Door())
        self.demand = DemandBook(lambda: world.monotonic)
        self.traffic = TrafficBook()
        self.feed = ChangeFeed(cast(Store, _Store(self)))
        self._around = Surroundings(
            store=cast(Store, _Store(self)), feed=self.feed, gateway=cast(Gateway, _Gateway(self)),
            admission=self.admission, demand=self.demand, traffic=self.traffic, clock=lambda: world.now,
            look=self._look, fence=Fence(site="here", token=token),
        )  # fmt: skip
        self.feed.on_commit = self._committed
        self.resync_at = world.monotonic + RESYNC
        for model in world.database.models.values():
            self.admission.recall(model)
        for model in world.database.models.values():
            self._take(model)
        self.take_loads(world.gateway.loads(everything=True))

    # ------------------------------------------------------------------ being woken

    def post(self, uid: str) -> None:
        if uid in self.models:
            self.models[uid].posted = True

    def changed(self, ref: ModelRef) -> None:
        """The backend or the gateway has news of it."""
        self.post(ref.uid)

    def heard(self, uid: str) -> None:
        """Another process has written it."""
        if uid in self.models:
            self.models[uid].actor.invalidate()
            self.post(uid)
        elif uid in self.world.database.models:
            self._take(self.world.database.models[uid])

    def take_loads(self, loads: Loads) -> None:
        self.demand.take(loads)
        self.traffic.take(loads)
        for load in loads.models:
            owned = self.models.get(load.uid)
            if owned is not None and owned.actor.follows_demand:
                owned.posted = True

    def next_at(self) -> float:
        wakes = [o.wake_at for o in self.models.values() if o.wake_at is not None]
        return min([self.resync_at, *wakes])

    def tick(self) -> None:
        """Post what is due by now."""
        now = self.world.monotonic
        for owned in self.models.values():
            if owned.wake_at is not None and owned.wake_at <= now:
                owned.posted, owned.wake_at = True, None
        if self.resync_at <= now:
            self.resync_at = now + RESYNC
            for uid, model in self.world.database.models.items():
                if uid not in self.models or self.models[uid].actor.version != model.version:
                    self.heard(uid)
                self.post(uid)

    # ------------------------------------------------------------------ passes

    def run(self) -> None:
        """Make all passes that are posted, together, until none is; those that are held stay where they are."""
        for _ in range(TOO_MANY * (len(self.models) + 1)):
            if not self.alive or not self._turn():
                return
        raise AssertionError(f"the passes do not come to rest: {self.restless()}")

    def restless(self) -> str:
        """Who would have to be looked at again."""
        now = self.world.monotonic
        restless = [u for u, o in self.models.items() if o.posted or (o.wake_at is not None and o.wake_at <= now)]
        return "; ".join(f"{self.world.database.models[u].status}" for u in restless)

    def step(self, uid: str, points: int | None) -> None:
        """Begin a pass over one model, or go on with it, for so many calls at most."""
        owned = self.models[uid]
        self.world.tell_loads()
        if owned.under_way is None:
            owned.posted = False
            owned.under_way = Pass(uid, owned.actor.reconcile(), began=self.world.count)
        owned.under_way.points = points
        self._go_on(uid, owned)

    def _turn(self) -> bool:
        moved = False
        self._let_in()
        for uid, owned in list(self.models.items()):
            if owned.under_way is None and owned.posted:
                owned.posted = False
                owned.under_way = Pass(uid, owned.actor.reconcile(), began=self.world.count)
            if owned.under_way is not None and not owned.under_way.held:
                before = self.world.count
                self._go_on(uid, owned)
                moved = moved or owned.under_way is None or before != self.world.count
            if not self.alive:
                return False
        return moved

    def _go_on(self, uid: str, owned: Owned) -> None:
        assert owned.under_way is not None
        self.current = owned.under_way
        try:
            owned.under_way.coroutine.send(None)
        except StopIteration as end:
            owned.under_way = None
            self._finish(uid, owned, end.value)
        except Died:
            self.die()
        except LeaseLost:
            self.die()
        except BaseException:
            self.world.broken = True
            raise
        finally:
            self.current = None

    def _finish(self, uid: str, owned: Owned, outcome: Outcome) -> None:
        self.world.count += 1
        if outcome.gone:
            del self.models[uid]
            self.admission.forget(uid)
            self.demand.forget(uid)
            return
        owned.posted = owned.posted or outcome.again
        owned.wake_at = None
        if outcome.wake_at is not None and not outcome.again:
            delay = max((outcome.wake_at - self.world.now).total_seconds(), 0.0)
            owned.wake_at = self.world.monotonic + min(delay, RESYNC)

    def die(self) -> None:
        """Nothing of it goes on."""
        self.alive = False
        for owned in self.models.values():
            if owned.under_way is not None:
                owned.under_way.coroutine.close()

    async def point(self) -> None:
        """A call of the pass that is on its way: here it can be held."""
        here = self.current
        assert here is not None
        while here.points == 0:
            await _Pause()
        if here.points is not None:
            here.points -= 1

    def effected(self) -> None:
        """Something outside has changed: after that it may die."""
        self.world.count += 1
        self.effects += 1
        if self.dies_after is not None and self.effects >= self.dies_after:
            raise Died

    # ------------------------------------------------------------------ helpers

    def _take(self, model: Model) -> None:
        backend = cast(Backend, _Backend(self))
        self.models[model.uid] = Owned(ModelActor(model.ref, self._around, backend, model))

    def _committed(self, change: Change) -> None:
        if change.after is not None:
            if change.after.uid in self.models:
                self.admission.meet(change.after)
            self.heard(change.after.uid)

    def _look(self, refs: Sequence[ModelRef]) -> None:
        for ref in refs:
            self.post(ref.uid)

    def _let_in(self) -> None:
        """Have those looked at who wait, once they may have come nearer or there is more than before."""
        machine, loosened = self.world.machine, self.admission.loosened
        if loosened.is_set() or machine.inventory != self._inventory:
            loosened.clear()
            self._inventory = machine.inventory
            self._look(self.admission.to_look_at(machine.ledger(), self.world.now))


class _Store:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._database = plane.world.database

    async def get_model_by_uid(self, uid: str) -> Model | None:
        await self._plane.point()
        return self._database.models.get(uid)

    async def running_operations(self, uid: str) -> list[Operation]:
        await self._plane.point()
        return self._database.running(uid)

    async def get_namespace(self, name: str) -> Namespace | None:
        await self._plane.point()
        return self._database.namespaces.get(name)

    async def held_elsewhere(self, namespace: str, site: str) -> Amount:
        await self._plane.point()
        others = [m for m in self._database.models.values() if m.namespace == namespace and m.site != site]
        return add_up(i.held for m in others for i in m.status.instances)

    async def get_revision_spec(self, uid: str, generation: int) -> Spec | None:
        await self._plane.point()
        return self._database.revisions[uid][generation - 1].spec

    async def commit(self, change: Change, _: Idempotency | None = None, fence: Fence | None = None) -> Change:
        if fence is None:
            # A user's command, which the same process serves; no pass makes it.
            return self._database.commit(change)
        await self._plane.point()
        written = self._database.commit(change, fence)
        self._plane.world.written(change)
        self._plane.effected()
        return written


class _Gateway:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def set_route(self, route: Route, watch: tuple[str, ...]) -> Closed:
        await self._plane.point()
        self._plane.world.check_lock(self._plane)
        closed = self._plane.world.gateway.set_route(route, watch)
        self._plane.effected()
        return closed

    async def remove_route(self, ref: ModelRef) -> None:
        await self._plane.point()
        self._plane.world.check_lock(self._plane)
        self._plane.world.gateway.remove_route(ref)
        self._plane.effected()


class _Backend:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._machine = plane.world.machine

    async def observe(self, ref: ModelRef) -> BackendObservation:
        await self._plane.point()
        return self._machine.observe(ref)

    async def ledger(self) -> Ledger:
        await self._plane.point()
        return self._machine.ledger()

    async def converge(
        self, ref: ModelRef, members: tuple[Member, ...], grace: float, surplus: tuple[str, ...] = ()
    ) -> None:
        await self._act()
        here = self._plane.current
        assert here is not None
        for process in self._machine.converge(ref, members, grace, surplus):
            self._plane.world.launched(process, since=here.began)
        self._plane.effected()

    async def release(self, ref: ModelRef, grace: float) -> None:
        await self._act()
        self._machine.release(ref, grace)
        self._plane.effected()

    async def forget(self, ref: ModelRef, exits: tuple[str, ...]) -> None:
        await self._act()
        self._machine.forget(ref, exits)
        self._plane.effected()

    async def remove(self, ref: ModelRef) -> None:
        await self._act()
        self._machine.remove(ref)
        self._plane.effected()

    async def _act(self) -> None:
        await self._plane.point()
        self._plane.world.check_lock(self._plane)
