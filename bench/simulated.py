"""A backend and a gateway that only pretend: for measuring what the control plane itself costs.

Instances become ready and end after set times and hold what their specs say; nothing of them exists. The backend
passes the same contract tests as the real one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from modelyard.access.callers import Snapshot
from modelyard.backends.port import Backend, BackendObservation, Capabilities, LogLine, Member, Orphan
from modelyard.control.ports import Closed, Gateway, Loads, Route
from modelyard.domain.capacity import Holding, Inventory, Ledger, amount_of
from modelyard.domain.errors import Problem, Unavailable
from modelyard.domain.model import DrainReport, Failure, Instance, InstancePhase, ModelRef, Target
from modelyard.domain.observation import Exit
from modelyard.domain.spec import Spec


class _News:
    """The models of which there is news, each once, for one listener."""

    def __init__(self) -> None:
        self._refs: dict[ModelRef, None] = {}
        self._any = asyncio.Event()

    def add(self, ref: ModelRef) -> None:
        self._refs[ref] = None
        self._any.set()

    def __aiter__(self) -> AsyncIterator[ModelRef]:
        return self

    async def __anext__(self) -> ModelRef:
        while not self._refs:
            self._any.clear()
            await self._any.wait()
        ref = next(iter(self._refs))
        del self._refs[ref]
        return ref


class SimulatedBackend(Backend):
    """``start_takes`` and ``stop_takes`` in seconds."""

    capabilities = Capabilities(gpus=True, logs=False, scale_to_zero=True)

    def __init__(self, inventory: Inventory, *, start_takes: float = 0.1, stop_takes: float = 0.05) -> None:
        self._inventory = inventory
        self._start_takes = start_takes
        self._stop_takes = stop_takes
        self._models: dict[str, dict[str, Instance]] = {}
        self._refs: dict[str, ModelRef] = {}
        self._holdings: dict[str, Holding] = {}
        self._exits: dict[str, dict[str, Exit]] = {}
        self._listeners: list[_News] = []
        self._numbers = itertools.count()
        self.launches = 0

    async def open(self) -> None:
        """There is nothing to adopt."""

    async def close(self, *, release: bool) -> None:
        """There is nothing to end."""

    async def check(self, spec: Spec) -> list[Problem]:
        return []

    async def inventory(self) -> Inventory:
        return self._inventory

    async def ledger(self) -> Ledger:
        return Ledger(inventory=self._inventory, holdings=tuple(self._holdings.values()))

    async def observe(self, ref: ModelRef) -> BackendObservation:
        exits = tuple(self._exits.get(ref.uid, {}).values())
        return BackendObservation(instances=tuple(self._models.get(ref.uid, {}).values()), exits=exits)

    async def converge(
        self, ref: ModelRef, members: tuple[Member, ...], grace: float, surplus: tuple[str, ...] = ()
    ) -> None:
        live: dict[Target, list[Instance]] = {member.target: [] for member in members}
        for instance in list(self._models.get(ref.uid, {}).values()):
            if instance.id in surplus:
                self._end(ref, instance)
            elif instance.phase is not InstancePhase.TERMINATING:
                live.setdefault(instance.target, []).append(instance)
        wanted = {member.target: member.replicas for member in members}
        for target, instances in live.items():
            for instance in instances[wanted.get(target, 0) :]:
                self._end(ref, instance)
        for member in members:
            for _ in range(0 if member.at_most else member.replicas - len(live[member.target])):
                self._launch(ref, member)

    async def release(self, ref: ModelRef, grace: float) -> None:
        for instance in list(self._models.get(ref.uid, {}).values()):
            self._end(ref, instance)

    async def forget(self, ref: ModelRef, exits: tuple[str, ...]) -> None:
        for id_ in exits:
            self._exits.get(ref.uid, {}).pop(id_, None)

    async def remove(self, ref: ModelRef) -> None:
        for id_ in self._models.pop(ref.uid, {}):
            self._holdings.pop(id_, None)
        self._exits.pop(ref.uid, None)

    async def logs(
        self, ref: ModelRef, instance: str | None, *, follow: bool, tail: int
    ) -> AsyncIterator[LogLine]:  # pragma: no cover - nothing is ever written
        return
        yield

    def changes(self) -> AsyncIterator[ModelRef]:
        news = _News()
        self._listeners.append(news)
        return news

    async def usage(self) -> Mapping[str, int]:
        return {}

    async def orphans(self, known: Collection[str]) -> Sequence[Orphan]:
        return ()

    async def clear(self, orphan: Orphan) -> None:
        raise Unavailable("There is nothing to clear: nothing here is real.")

    # ------------------------------------------------------------------ what it pretends

    def _launch(self, ref: ModelRef, member: Member) -> None:
        self.launches += 1
        held = amount_of(member.spec.resources)
        taken = {d for holding in self._holdings.values() for d in holding.devices} if held.devices else set()
        free = [d.id for d in self._inventory.devices if d.id not in taken] if held.devices else []
        if (failure := self._refusal(member.spec, free)) is not None:
            exit_ = Exit(id=f"s{next(self._numbers)}", target=member.target, at=_now(), failure=failure)
            self._exits.setdefault(ref.uid, {})[exit_.id] = exit_
            self._tell(ref)
            return
        instance = Instance(
            id=f"s{next(self._numbers)}", target=member.target, phase=InstancePhase.STARTING, since=_now(),
            address="unix:/nowhere", held=held, devices=tuple(free[: held.devices]),
        )  # fmt: skip
        self._refs[ref.uid] = ref
        if held:
            self._holdings[instance.id] = Holding(ref=ref, instance=instance.id, amount=held, devices=instance.devices)
        self._put(ref, instance)
        self._later(self._start_takes, ref, instance.id, InstancePhase.READY)

    def _refusal(self, spec: Spec, free: list[str]) -> Failure | None:
        if spec.unresolved:
            return Failure(code="unresolved", message=spec.unresolved, permanent=True)
        if spec.resources.gpus > len(free):
            holders = {str(self._refs[uid]) for uid, held in self._models.items() for i in held.values() if i.devices}
            return Failure(code="no_device", message=f"No device is free: {', '.join(sorted(holders))} have them.")
        return None

    def _end(self, ref: ModelRef, instance: Instance) -> None:
        if instance.phase is not InstancePhase.TERMINATING:
            self._put(ref, replace(instance, phase=InstancePhase.TERMINATING, since=_now()))
            self._later(self._stop_takes, ref, instance.id, None)

    def _later(self, seconds: float, ref: ModelRef, id_: str, phase: InstancePhase | None) -> None:
        asyncio.get_running_loop().call_later(seconds, self._become, ref, id_, phase)

    def _become(self, ref: ModelRef, id_: str, phase: InstancePhase | None) -> None:
        instance = self._models.get(ref.uid, {}).get(id_)
        if instance is None:
            return
        if phase is None:
            del self._models[ref.uid][id_]
            self._holdings.pop(id_, None)
            self._tell(ref)
        elif instance.phase is InstancePhase.STARTING:
            self._put(ref, replace(instance, phase=phase, since=_now()))

    def _put(self, ref: ModelRef, instance: Instance) -> None:
        self._models.setdefault(ref.uid, {})[instance.id] = instance
        self._tell(ref)

    def _tell(self, ref: ModelRef) -> None:
        for listener in self._listeners:
            listener.add(ref)


class SilentGateway(Gateway):
    """Nobody calls."""

    async def set_route(self, route: Route, watch: tuple[str, ...]) -> Closed:
        return Closed(in_flight=dict.fromkeys(watch, 0), report=DrainReport())

    async def remove_route(self, ref: ModelRef) -> None:
        """It had none."""

    async def drained(self) -> AsyncIterator[ModelRef]:
        await asyncio.Event().wait()
        yield ModelRef("", "", "")  # pragma: no cover - never

    async def set_access(self, snapshot: Snapshot) -> None:
        """There is nobody to let in."""

    async def key_uses(self) -> AsyncIterator[Mapping[str, datetime]]:
        await asyncio.Event().wait()
        yield {}  # pragma: no cover - never

    async def loads(self) -> AsyncIterator[Loads]:
        await asyncio.Event().wait()
        yield Loads(gateway="", at=0.0, models=())  # pragma: no cover - never


def _now() -> datetime:
    return datetime.now(UTC)
