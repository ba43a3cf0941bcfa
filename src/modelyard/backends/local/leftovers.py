"""What is left of instances that no model has: found when asked for, ended or removed one by one.

Nothing of an instance that is on record is ever among it, however young: an instance is on record before
anything of it exists. Logs are kept on purpose when a model is deleted, so that its failures can be read;
they are left over once nothing has been written to them for a week.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from modelyard.backends.local import process
from modelyard.backends.local.files import InstanceFiles
from modelyard.backends.local.instance import LocalInstance
from modelyard.backends.local.launching import Site
from modelyard.backends.local.process import TICKS_PER_SECOND, Census, Handle, ProcessId, Stat, in_thread
from modelyard.backends.port import Orphan
from modelyard.domain.errors import Unavailable

LOGS_KEPT: Final = timedelta(days=7)
# Models come while one looks: what is younger may be that of one that the caller does not know yet.
SETTLED: Final = timedelta(minutes=1)
# Seconds: a process that was asked to end is killed after the first, and given up after the second.
_GRACE: Final = 5.0
_KILL_TAKES: Final = 10.0
_COMMAND_SHOWN: Final = 100


class Leftovers:
    """Of one backend. ``instances`` gives all that are on record."""

    def __init__(self, site: Site, routes_dir: Path, instances: Callable[[], list[LocalInstance]]) -> None:
        self._site = site
        self._routes = routes_dir
        self._instances = instances
        # What the last look found: nothing else is ever ended or removed.
        self._found: set[tuple[str, str]] = set()

    # ------------------------------------------------------------------------------------- looking

    async def look(self, known: Collection[str]) -> list[Orphan]:
        """Everything left over; ``known`` are the uids of all models."""
        before = self._on_record()
        uids = {instance.launch.ref.uid for instance in self._instances()} | set(known)
        processes, names = await in_thread(lambda: (self._marked(), self._names()))
        # Those that came or went meanwhile are no leftovers either.
        recorded = before | self._on_record()
        found = await in_thread(self._sift, processes, names, recorded, uids)
        found += self._unowned(known)
        self._found = {(orphan.kind, orphan.id) for orphan in found}
        return found

    def _on_record(self) -> set[str]:
        return {instance.id for instance in self._instances()}

    def _marked(self) -> dict[str, list[Stat]]:
        return Census(self._site.home_id).marked()

    def _names(self) -> set[str]:
        """Of what is in the instances' folder."""
        with contextlib.suppress(OSError):
            return {path.name for path in self._site.instances_dir.iterdir()}
        return set()

    def _sift(
        self, processes: dict[str, list[Stat]], names: set[str], recorded: set[str], uids: set[str]
    ) -> list[Orphan]:
        """Blocks."""
        found = [
            Orphan(kind="process", id=_process_id(stat.id), message=f"{_describe(stat.id)} of instance {instance}")
            for instance, stats in processes.items()
            if instance not in recorded
            for stat in stats
            # One that ended with its instance while we looked is no more.
            if process.is_alive(stat.id)
        ]
        for name in sorted(names):
            instance = name.removesuffix(".sock")
            path = self._site.instances_dir / name
            if instance in recorded or not path.exists():
                continue
            if instance == name:
                found.append(Orphan(kind="folder", id=name, message=f"{path}, of no instance"))
            elif instance not in names:
                found.append(Orphan(kind="socket", id=name, message=f"{path}, of no instance"))
        for folder in self._site.logs.folders():
            if folder.name not in uids and (age := _age_of_logs(folder)) is not None and age > LOGS_KEPT:
                where = "/".join(folder.parts[-3:])
                message = f"{folder}, of a deleted model, last written to {_spell(age)} ago"
                found.append(Orphan(kind="log", id=where, message=message))
        for path in sorted(self._routes.glob("*.json")):
            if path.stem not in uids and (age := _age([path])) is not None and age > SETTLED:
                found.append(Orphan(kind="route", id=path.stem, message=f"{path}, of no model"))
        return found

    def _unowned(self, known: Collection[str]) -> list[Orphan]:
        """Instances on record whose model is not: its row was lost, or the database is another one."""
        found = []
        for instance in self._instances():
            ref, age = instance.launch.ref, datetime.now(UTC) - instance.launch.created_at
            if ref.uid in known or instance.main is None or instance.ending or age < SETTLED:
                continue
            message = f"Instance {instance.id} of {ref}, a model that is not known, launched {_spell(age)} ago"
            found.append(Orphan(kind="process", id=_process_id(instance.main), message=message))
        return found

    # ------------------------------------------------------------------------------------ clearing

    async def clear(self, orphan: Orphan) -> None:
        """End or remove it. Nothing happens if it is gone already.

        Raises:
            Unavailable: it was not found by the last look, or cannot be ended or removed.
        """
        if (orphan.kind, orphan.id) not in self._found:
            raise Unavailable(f"The {orphan.kind} {orphan.id} was not among what was last found: look again.")
        try:
            if orphan.kind == "process":
                await self._end(orphan.id)
            else:
                await in_thread(self._remove, orphan.kind, orphan.id, self._on_record())
        except FileNotFoundError:
            return  # somebody else was faster
        except OSError as error:
            what = f"The {orphan.kind} {orphan.id} cannot be removed"
            raise Unavailable(f"{what}: {error.strerror or error}. Remove it by hand.") from error

    def _remove(self, kind: str, id_: str, recorded: set[str]) -> None:
        """Blocks; raises OSError."""
        if kind == "route":
            (self._routes / f"{id_}.json").unlink(missing_ok=True)
        elif kind == "log":
            folder = self._site.logs.root / id_
            if (age := _age_of_logs(folder)) is not None and age > LOGS_KEPT:
                shutil.rmtree(folder)
        elif (instance := id_.removesuffix(".sock")) not in recorded:
            InstanceFiles(self._site.instances_dir, instance).remove()

    async def _end(self, id_: str) -> None:
        pid, ticks = (int(number) for number in id_.split(":"))
        wanted = ProcessId(pid, ticks)
        instance = next((i for i in self._instances() if i.main == wanted), None)
        told = [""]

        async def report(message: str) -> None:
            told.append(f" {message}")

        async def end() -> None:
            if instance is not None:
                instance.end(_GRACE)
                await instance.gone.wait()
            else:
                await self._end_process(wanted, report)

        try:
            async with asyncio.timeout(_GRACE + _KILL_TAKES):
                await end()
        except TimeoutError:
            raise Unavailable(f"Process {pid} does not end.{told[-1]} Try again, or end it by hand.") from None

    async def _end_process(self, wanted: ProcessId, report: Callable[[str], Awaitable[None]]) -> None:
        """Ask it, then kill it with all that came of it. A process that is not (any more) one that carries our
        marker and belongs to no instance on record is left alone."""
        family: set[ProcessId] = set()
        recorded = self._on_record()

        def look() -> list[Stat]:
            census = Census(self._site.home_id)
            marked = census.marked(since=wanted.ticks)
            own = [stat for id_ in marked.keys() - recorded for stat in marked[id_] if stat.id == wanted]
            members = census.tree(own, None, family)
            family.update(stat.id for stat in members)
            return members

        if not await in_thread(look):
            return
        handle = Handle(wanted)
        try:
            with contextlib.suppress(PermissionError):
                handle.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await handle.exited.wait()
        finally:
            handle.detach()
        await process.end_all(look, report)


def _process_id(process_: ProcessId) -> str:
    return f"{process_.pid}:{process_.ticks}"


def _describe(process_: ProcessId) -> str:
    """What it is and since when. Blocks."""
    command, uptime = "", 0.0
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{process_.pid}/cmdline").read_bytes().split(b"\0")
        command = b" ".join(words).decode("utf-8", "replace").strip()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    age = timedelta(seconds=max(uptime - process_.ticks / TICKS_PER_SECOND, 0.0))
    return f"Process {process_.pid} ({command[:_COMMAND_SHOWN]}), started {_spell(age)} ago,"


def _age_of_logs(folder: Path) -> timedelta | None:
    try:
        return _age([folder, *folder.iterdir()])
    except OSError:
        return None


def _age(paths: Iterable[Path]) -> timedelta | None:
    """Since the youngest of them was last written to; None if that cannot be known."""
    try:
        return timedelta(seconds=time.time() - max(path.stat().st_mtime for path in paths))
    except OSError:
        return None


def _spell(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
