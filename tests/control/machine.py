"""The machine of the simulated yard: instances that start slowly, fail, crash, and may not be killed for a while.

It keeps the rules of :class:`modelyard.backends.local.backend.LocalBackend`: who gets which device, what counts
from when until when, and which instances end first.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.backends.port import BackendObservation, Member
from modelyard.domain.capacity import Device, Holding, Inventory, Ledger, amount_of
from modelyard.domain.model import Amount, Failure, Instance, InstancePhase, ModelRef, Target
from modelyard.domain.observation import Exit
from modelyard.domain.spec import Spec

STARTS_IN = 1.0


@dataclass
class Process:
    """``ready_at`` and ``kill_at`` are times of the clock that never jumps."""

    id: str
    ref: ModelRef
    target: Target
    spec: Spec
    devices: tuple[str, ...]
    since: datetime
    ready_at: float
    phase: InstancePhase = InstancePhase.STARTING
    kill_at: float | None = None
    refused: bool = False
    asked: bool = False


class Machine:
    """``failing`` are the uids of models whose starts fail for now, ``bad`` the revisions that never start, ``slow``
    the uids whose starts hang, ``immortal`` the instances that no signal ends."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        changed: Callable[[ModelRef], None],
        gone: Callable[[str, str], None],
        busy: Callable[[str, str], int],
    ) -> None:
        self._clock, self._monotonic, self._changed, self._gone, self._busy = clock, monotonic, changed, gone, busy
        self._ids = itertools.count(1)
        self.inventory = Inventory()
        self.processes: dict[str, Process] = {}
        self.exits: dict[str, tuple[ModelRef, Exit]] = {}
        self.failing: set[str] = set()
        self.slow: set[str] = set()
        self.bad: set[tuple[str, int]] = set()
        self.immortal: set[str] = set()
        self.launches: list[Process] = []

    # ------------------------------------------------------------------ what the port asks

    def observe(self, ref: ModelRef) -> BackendObservation:
        return BackendObservation(
            instances=tuple(self._snapshot(p) for p in self.of(ref.uid)),
            exits=tuple(exit_ for owner, exit_ in self.exits.values() if owner.uid == ref.uid),
        )

    def ledger(self) -> Ledger:
        holdings = (
            Holding(ref=p.ref, instance=p.id, amount=self.held(p), devices=p.devices) for p in self.processes.values()
        )
        return Ledger(inventory=self.inventory, holdings=tuple(holdings))

    def converge(
        self, ref: ModelRef, members: tuple[Member, ...], grace: float, surplus: tuple[str, ...]
    ) -> list[Process]:
        """What was launched."""
        live: dict[Target, list[Process]] = {m.target: [] for m in members}
        for process in self.of(ref.uid):
            if process.id in surplus:
                self._end(process, grace)
            elif process.phase is not InstancePhase.TERMINATING:
                live.setdefault(process.target, []).append(process)
        wanted = {m.target: m.replicas for m in members}
        for target, processes in live.items():
            for process in processes[wanted.get(target, 0) :]:
                self._end(process, grace)
        missing = [(m, 0 if m.at_most else m.replicas - len(live[m.target])) for m in members]
        return [self._launch(ref, m) for m, count in missing for _ in range(count)]

    def release(self, ref: ModelRef, grace: float) -> None:
        for process in self.of(ref.uid):
            self._end(process, grace)

    def forget(self, ref: ModelRef, exits: tuple[str, ...]) -> None:
        for id_ in exits:
            self.exits.pop(id_, None)
        self._changed(ref)

    def remove(self, ref: ModelRef) -> None:
        self.release(ref, 0.0)
        self.exits = {id_: (owner, exit_) for id_, (owner, exit_) in self.exits.items() if owner.uid != ref.uid}

    # ------------------------------------------------------------------ what happens to it

    def tick(self) -> None:
        """Carry out what is due: starts, failures, ends."""
        now = self._monotonic()
        for p in list(self.processes.values()):
            if p.refused and p.phase is InstancePhase.STARTING:
                self.crash(p.id, "no_device")
            elif p.phase is InstancePhase.STARTING and p.ready_at <= now and p.ref.uid not in self.slow:
                self._start(p)
            elif self._ends(p, now):
                del self.processes[p.id]
                self._gone(p.ref.uid, p.id)
                self._changed(p.ref)

    def next_at(self) -> float | None:
        """When something is due next."""
        due = [
            p.ready_at if p.phase is InstancePhase.STARTING else p.kill_at
            for p in self.processes.values()
            if p.phase is not InstancePhase.READY and p.ref.uid not in self.slow and p.id not in self.immortal
        ]
        return min((at for at in due if at is not None), default=None)

    def crash(self, instance: str, code: str = "crashed", *, permanent: bool = False) -> None:
        p = self.processes[instance]
        if p.phase is not InstancePhase.TERMINATING:
            failure = Failure(code=code, message=f"It {code}.", permanent=permanent, log=("last line",))
            self.exits[p.id] = (p.ref, Exit(id=p.id, target=p.target, at=self._clock(), failure=failure))
        p.phase, p.kill_at = InstancePhase.TERMINATING, self._monotonic()
        self._changed(p.ref)

    def set_inventory(self, *, devices: int, cpu: float, memory: int) -> None:
        found = tuple(Device(id=str(n)) for n in range(devices))
        self.inventory = Inventory(cpu=cpu, memory=memory, devices=found)

    def of(self, uid: str) -> list[Process]:
        return [p for p in self.processes.values() if p.ref.uid == uid]

    def held(self, p: Process) -> Amount:
        if p.refused:
            return Amount()
        there = {d.id for d in self.inventory.devices}
        return replace(amount_of(p.spec.resources), devices=sum(id_ in there for id_ in p.devices))

    def _launch(self, ref: ModelRef, member: Member) -> Process:
        taken = {id_ for p in self.processes.values() for id_ in p.devices}
        free = [d.id for d in self.inventory.devices if d.id not in taken]
        need = member.spec.resources.gpus
        process = Process(
            id=f"i{next(self._ids)}", ref=ref, target=member.target, spec=member.spec,
            devices=tuple(free[:need]) if len(free) >= need else (), since=self._clock(),
            ready_at=self._monotonic() + STARTS_IN, refused=len(free) < need,
        )  # fmt: skip
        self.processes[process.id] = process
        self.launches.append(process)
        self._changed(ref)
        return process

    def _ends(self, p: Process, now: float) -> bool:
        if p.phase is not InstancePhase.TERMINATING or p.id in self.immortal:
            return False
        return self._busy(p.ref.uid, p.id) == 0 or (p.kill_at or 0.0) <= now

    def _start(self, p: Process) -> None:
        if (p.ref.uid, p.target.generation) in self.bad:
            self.crash(p.id, "load_failed", permanent=True)
        elif p.ref.uid in self.failing:
            self.crash(p.id, "not_ready")
        else:
            p.phase, p.since = InstancePhase.READY, self._clock()
            self._changed(p.ref)

    def _end(self, p: Process, grace: float) -> None:
        p.asked = True
        kill_at = self._monotonic() + grace
        p.phase = InstancePhase.TERMINATING
        if p.kill_at is None or kill_at < p.kill_at:
            p.kill_at = kill_at
            self._changed(p.ref)

    def _snapshot(self, p: Process) -> Instance:
        return Instance(
            id=p.id, target=p.target, phase=p.phase, address=f"unix:/{p.id}", since=p.since, held=self.held(p),
            devices=p.devices,
        )  # fmt: skip
