"""The local backend: instances are processes of this machine, one worker (or user's server) each."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from weakref import WeakSet

from modelyard import tasks
from modelyard.backends.local import check, machine
from modelyard.backends.local.devices import HOW_TO_DECLARE, Devices
from modelyard.backends.local.files import (
    InstanceFiles,
    Launch,
    Record,
    common_environment,
    home_id,
    new_instance_id,
)
from modelyard.backends.local.instance import LocalInstance
from modelyard.backends.local.launching import OpenSecrets, Site
from modelyard.backends.local.leftovers import Leftovers
from modelyard.backends.local.logs import Logs
from modelyard.backends.local.process import Census, Tree, end_all, in_thread
from modelyard.backends.local.warm import WarmParents
from modelyard.backends.port import Artifacts, BackendObservation, Capabilities, LogLine, Member, Orphan
from modelyard.domain.capacity import Holding, Inventory, Ledger
from modelyard.domain.errors import Problem
from modelyard.domain.model import Failure, ModelRef, Target
from modelyard.domain.spec import Spec
from modelyard.settings import Settings

logger = logging.getLogger(__name__)

# -P: code is not looked for where they run.
_WORKER: Final = (sys.executable, "-P", "-m", "modelyard.runtime", "--instance")
_LAUNCHER: Final = (sys.executable, "-P", "-m", "modelyard.runtime.launch")
# A shutdown lets requests in flight finish for so long, then waits so long for the kernel to end the rest.
_SHUTDOWN_GRACE: Final = 10.0
_SHUTDOWN_KILL: Final = 10.0
# How long opening waits for adopted instances to say who they are; those that do not are watched further.
_ADOPTION_PATIENCE: Final = 2.0
_ROTATE_EVERY: Final = 1.0
# How often the machine is looked at again: a GPU may fall off its bus, a container be given more.
_LOOK_EVERY: Final = 30.0


class LocalBackend:
    """Implements :class:`modelyard.backends.port.Backend`. Belongs to one event loop.

    Args:
        settings: where the home is.
        worker: the command that runs a worker; the instance's folder is appended.
        launcher: the command that becomes the ``command`` engine's server; likewise.
        artifacts: has the files of registered models.
    """

    capabilities = Capabilities(replicas=True, gpus=True, drain=True, logs=True, scale_to_zero=True)

    def __init__(
        self, settings: Settings, *, worker: tuple[str, ...] = _WORKER, launcher: tuple[str, ...] = _LAUNCHER,
        artifacts: Artifacts | None = None, opened: OpenSecrets | None = None,
    ) -> None:  # fmt: skip
        self._logs = Logs(settings.logs_dir)
        warm = None
        # Another command than our own runs another program.
        if settings.warm_start and worker == _WORKER:
            warm = WarmParents(settings.warm_dir, common_environment(os.environ, 1, ()), worker)
        self._site = Site(
            instances_dir=settings.instances_dir,
            home_id=home_id(settings.home),
            logs=self._logs,
            worker=worker,
            launcher=launcher,
            inherited=dict(os.environ),
            changed=self._changed,
            live=self._live_ids,
            artifacts=artifacts,
            warm=warm,
            opened=opened,
            devices=Devices(settings.declared_gpus, os.environ.get("CUDA_VISIBLE_DEVICES")),
        )
        self._inventory: Inventory | None = None
        self._leftovers = Leftovers(self._site, settings.routes_dir, self._all)
        # By the model's uid, then by the instance's id, oldest first.
        self._models: dict[str, dict[str, LocalInstance]] = {}
        # Weakly: a listener that is no longer listened to needs no news.
        self._subscribers: WeakSet[_Changes] = WeakSet()
        self._housekeeping: list[asyncio.Task[None]] = []

    # ------------------------------------------------------------------------------- open and close

    async def open(self) -> None:
        await self._look_around()
        records, marked = await in_thread(self._find)
        for record in records.values():
            if record is not None:
                self._adopt(record)
        for instance in marked | records.keys():
            if records.get(instance) is None:
                tasks.spawn(self._end_orphans(instance), f"end what is left of instance {instance}")
        waiting = [asyncio.ensure_future(i.settled.wait()) for i in self._all()]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=_ADOPTION_PATIENCE)
            await tasks.stop(*late)
        self._housekeeping = [
            tasks.spawn(self._keep_logs(), "rotate instances' logs"),
            tasks.spawn(self._keep_looking(), "look at the machine"),
        ]
        if self._site.warm is not None:
            await self._site.warm.open()
        logger.info("opened %s with %d instance(s)", self._site.instances_dir, len(self._all()))

    async def close(self, *, release: bool) -> None:
        await tasks.stop(*self._housekeeping)
        instances = self._all()
        if release:
            for instance in instances:
                instance.end(_SHUTDOWN_GRACE)
            ending = [asyncio.ensure_future(i.gone.wait()) for i in instances]
            if ending:
                _, left = await asyncio.wait(ending, timeout=_SHUTDOWN_GRACE + _SHUTDOWN_KILL)
                await tasks.stop(*left)
                if left:
                    logger.error("%d instance(s) could not be ended", len(left))
        await asyncio.gather(*(instance.detach() for instance in instances))
        if self._site.warm is not None:
            await self._site.warm.close()
        for subscriber in self._subscribers:
            subscriber.end()

    def _find(self) -> tuple[dict[str, Record | None], set[str]]:
        """Instances by what is on disk of them, and by the marks that processes carry. Blocks."""
        root = self._site.instances_dir
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = {path.name.removesuffix(".sock") for path in root.iterdir()}
        except OSError as error:
            # Launches will say so too, each with its own failure; what runs can still be looked for.
            logger.error("%s cannot be used: %s", root, error)
            names = set()
        records = {name: InstanceFiles(root, name).recall() for name in names}
        return records, set(Census(self._site.home_id).marked())

    def _adopt(self, record: Record) -> None:
        launch = record.launch
        instance = LocalInstance(self._site, launch)
        self._models.setdefault(launch.ref.uid, {})[launch.id] = instance
        main = record.main.id if record.main is not None else None
        if record.exit is not None or record.releasing or record.main is None:
            # Without its process on record a launch was cut off in the middle, and is undone.
            instance.resume_end(main, record.exit)
        else:
            instance.adopt(main, record.ready)

    async def _end_orphans(self, instance: str) -> None:
        """End processes of ours that no record tells of, and what is left of their files."""

        async def report(message: str) -> None:
            logger.warning("left over from instance %s: %s", instance, message)

        await end_all(Tree(self._site.home_id, instance).look, report)
        try:
            await in_thread(InstanceFiles(self._site.instances_dir, instance).remove)
        except OSError as error:
            logger.warning("files left over from instance %s stay behind: %s", instance, error)

    # ------------------------------------------------------------------------------------- the wish

    async def check(self, spec: Spec) -> list[Problem]:
        return await check.problems(spec, self._site.inherited, await self.inventory())

    async def converge(
        self, ref: ModelRef, members: tuple[Member, ...], grace: float, surplus: tuple[str, ...] = ()
    ) -> None:
        live: dict[Target, list[LocalInstance]] = {member.target: [] for member in members}
        for instance in self._of(ref):
            if instance.id in surplus:
                instance.end(grace)
            elif not instance.ending:
                live.setdefault(instance.launch.target, []).append(instance)
        wanted = {member.target: member.replicas for member in members}
        for target, instances in live.items():
            for instance in instances[wanted.get(target, 0) :]:
                instance.end(grace)
        for member in members:
            for _ in range(0 if member.at_most else member.replicas - len(live[member.target])):
                self._launch(ref, member)

    async def release(self, ref: ModelRef, grace: float) -> None:
        for instance in self._of(ref):
            instance.end(grace)

    async def forget(self, ref: ModelRef, exits: tuple[str, ...]) -> None:
        known = self._models.get(ref.uid, {})
        for instance in [known[id_] for id_ in exits if id_ in known]:
            await self._forget(instance)

    async def remove(self, ref: ModelRef) -> None:
        for instance in self._of(ref):
            instance.end(0)
            await self._forget(instance)

    def _launch(self, ref: ModelRef, member: Member) -> None:
        spec, refusal = member.spec, None
        free = self._free_devices()
        if spec.unresolved:
            refusal = Failure(code="unresolved", message=spec.unresolved, permanent=True)
        elif len(free) < spec.resources.gpus:
            refusal = self._no_device(spec, len(free))
        launch = Launch(
            id=new_instance_id(), ref=ref, target=member.target, spec=spec, created_at=datetime.now(UTC),
            secret=secrets.token_hex(32), devices=() if refusal is not None else free[: spec.resources.gpus],
        )  # fmt: skip
        instance = LocalInstance(self._site, launch, refusal)
        self._models.setdefault(ref.uid, {})[launch.id] = instance
        instance.start()
        self._changed(ref)

    def _free_devices(self) -> tuple[str, ...]:
        held = {id_ for i in self._all() if not i.gone.is_set() for id_ in i.launch.devices}
        return tuple(id_ for id_ in self._site.devices.ids if id_ not in held)

    def _no_device(self, spec: Spec, free: int) -> Failure:
        """What the ledger said when the launch was decided on is so no longer."""
        need, total = spec.resources.gpus, len(self._site.devices.ids)
        message = f"{need} GPU{'s' if need > 1 else ''} needed, {free} free of {total}."
        holders = {f"{i.launch.ref} ({i.id})" for i in self._all() if not i.gone.is_set() and i.launch.devices}
        if holders:
            message += f" Held by {', '.join(sorted(holders))}."
        elif not total:
            message += f" {HOW_TO_DECLARE}"
        return Failure(code="no_device", message=message)

    async def _forget(self, instance: LocalInstance) -> None:
        if instance.exit is None:
            return
        instance.forget_exit()
        if instance.gone.is_set():
            try:
                await in_thread(instance.files.remove)
            except OSError as error:
                logger.warning("files of instance %s stay behind: %s", instance.id, error)
        self._changed(instance.launch.ref)

    # -------------------------------------------------------------------------------------- the look

    async def observe(self, ref: ModelRef) -> BackendObservation:
        instances = self._of(ref)
        return BackendObservation(
            instances=tuple(i.snapshot() for i in instances if not i.gone.is_set()),
            exits=tuple(i.exit for i in instances if i.exit is not None),
        )

    async def inventory(self) -> Inventory:
        return self._inventory or await self._look_around()

    async def ledger(self) -> Ledger:
        inventory = await self.inventory()
        holdings = (
            Holding(ref=i.launch.ref, instance=i.id, amount=i.held, devices=i.launch.devices)
            for i in self._all()
            if not i.gone.is_set()
        )
        return Ledger(inventory=inventory, holdings=tuple(holdings))

    async def orphans(self, known: Collection[str]) -> Sequence[Orphan]:
        return await self._leftovers.look(known)

    async def clear(self, orphan: Orphan) -> None:
        await self._leftovers.clear(orphan)

    async def usage(self) -> Mapping[str, int]:
        """Pages that processes share count once for each of them (RSS): finding out whose share is what
        (PSS) costs milliseconds a process."""
        trees = [i.tree for i in self._all() if not i.gone.is_set()]

        def add_up() -> dict[str, int]:
            census = Census(self._site.home_id)
            marked = census.marked(since=min((t.main.ticks for t in trees if t.main), default=0))
            return {
                tree.instance: sum(stat.memory for stat in census.tree(marked.get(tree.instance, []), tree.main))
                for tree in trees
            }

        return await in_thread(add_up) if trees else {}

    def logs(self, ref: ModelRef, instance: str | None, *, follow: bool, tail: int) -> AsyncIterator[LogLine]:
        return self._logs.read(ref, instance, tail=tail, follow=follow, is_live=self._may_live)

    def changes(self) -> AsyncIterator[ModelRef]:
        """Changes from this call on; those of one model that nobody has fetched yet count as one."""
        changes = _Changes()
        self._subscribers.add(changes)
        return changes

    # --------------------------------------------------------------------------------------- helpers

    def _of(self, ref: ModelRef) -> list[LocalInstance]:
        return list(self._models.get(ref.uid, {}).values())

    def _all(self) -> list[LocalInstance]:
        return [instance for model in self._models.values() for instance in model.values()]

    def _live_ids(self) -> set[str]:
        return {i.id for i in self._all() if not i.gone.is_set()}

    def _may_live(self, instance: str) -> bool:
        """Unless this backend is open it does not know."""
        return not self._housekeeping or instance in self._live_ids()

    def _changed(self, ref: ModelRef) -> None:
        model = self._models.get(ref.uid, {})
        for instance in list(model.values()):
            if instance.gone.is_set() and instance.exit is None:
                del model[instance.id]
        if not model:
            self._models.pop(ref.uid, None)
        for subscriber in self._subscribers:
            subscriber.add(ref)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await self._look_around()

    async def _look_around(self) -> Inventory:
        cpu, memory = await in_thread(lambda: (machine.total_cpu(), machine.total_memory()))
        await self._site.devices.look()
        # At once, so that devices and inventory never disagree.
        self._inventory = Inventory(cpu=cpu, memory=memory, devices=self._site.devices.present)
        return self._inventory

    async def _keep_logs(self) -> None:
        while True:
            await asyncio.sleep(_ROTATE_EVERY)
            if live := [(i.launch.ref, i.id) for i in self._all() if not i.gone.is_set()]:
                await in_thread(self._rotate, live)

    def _rotate(self, live: list[tuple[ModelRef, str]]) -> None:
        for ref, instance in live:
            try:
                self._logs.rotate(ref, instance)
            except OSError as error:
                logger.warning("the log of instance %s cannot be rotated: %s", instance, error)


class _Changes:
    """One listener's changed models, each once, in the order of their first change."""

    def __init__(self) -> None:
        self._refs: dict[ModelRef, None] = {}
        self._news = asyncio.Event()
        self._ended = False

    def add(self, ref: ModelRef) -> None:
        self._refs[ref] = None
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    def __aiter__(self) -> AsyncIterator[ModelRef]:
        return self

    async def __anext__(self) -> ModelRef:
        while not self._refs:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        ref = next(iter(self._refs))
        del self._refs[ref]
        return ref
