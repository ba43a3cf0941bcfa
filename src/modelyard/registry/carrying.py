"""Carries transfers out: whose turn it is, one attempt after the other, and how far each is.

The bytes move in threads. What is known of a transfer is in the database: a process that is killed leaves it as
running, and the next one that drives the home takes it up again, under a claim of its own (see
:class:`~modelyard.domain.transfers.Transfer`). Each has a folder in the home, in which it goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from modelyard import tasks
from modelyard.domain.errors import ModelyardError, Unavailable, VersionConflict
from modelyard.domain.transfers import (
    Meter,
    Phase,
    Transfer,
    TransferError,
    TransferKind,
    advance,
    enter,
    fail,
    give_back,
    next_up,
    retry,
    succeed,
    take_up,
)
from modelyard.registry.content.cutting import Progress
from modelyard.registry.ports import TransferStore
from modelyard.registry.room import NoSpace
from modelyard.registry.sources.patience import Lasting
from modelyard.registry.transfers import Transfers
from modelyard.threads import apart

log = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE: Final = 2
# All in seconds. How far a transfer is is written this often at most.
WRITE_EVERY: Final = 1.0
# So often it is looked how far it is, and whether somebody has cancelled it through another process.
_BEAT: Final = 0.4
# Between two looks for what other processes of the home were asked for, and where there are none.
_LOOK_EVERY: Final = 1.0
_LOOK_ALONE_EVERY: Final = 60.0
# After an attempt that failed; twice as long after each further one.
_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
# Failures one after the other, beyond which none makes the pause longer.
_COUNTED: Final = 10
# After which a source that has given nothing is given up, whatever it does meanwhile; what is there already may take a
# while to be read.
_SILENCE: Final = 1800.0
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
# A thread that is to end and waits for a server is waited for no longer than this: it writes to nothing that is kept.
_PATIENCE: Final = 0.5


class Stopped(Exception):
    """This attempt is to end: the transfer is over, or no longer this process's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """Where transfers are written, by whom this process's callers hear of it, and the clocks (``seconds`` never
    jump)."""

    store: TransferStore
    transfers: Transfers
    clock: Callable[[], datetime]
    seconds: Callable[[], float] = time.monotonic


class Haul:
    """One attempt at one transfer. ``folder`` is the transfer's own; it may not be there yet."""

    def __init__(self, office: Office, transfer: Transfer, folder: Path) -> None:
        self._office = office
        self.transfer = transfer
        self.folder = folder
        self._stop = threading.Event()
        self._seen: tuple[int, int | None] = (0, None)
        self._meter = Meter()
        self._written_at = office.seconds()

    def stop(self) -> None:
        """Have the bytes stop moving at the next piece."""
        self._stop.set()

    def progress(self, done: int, total: int) -> None:
        """Told by any thread. Raises Stopped, which ends whatever it is that goes on."""
        if self._stop.is_set():
            raise Stopped
        self._seen = (done, total or None)

    async def run(self, phase: Phase, work: Callable[[Progress], T], **changes: Any) -> T:
        """Enter ``phase``, with ``changes`` of the transfer, and have a thread do ``work``, which tells how far it is.

        Raises:
            Stopped: it was told so, or somebody else has written the transfer
            Unavailable: it is fetching, and nothing has come for long
        """
        await self.enter(phase, **changes)
        name = f"{phase} of {self.transfer.id}"
        seen, moved_at = self._seen, self._office.seconds()
        working = apart(lambda: work(self.progress), name)
        try:
            while True:
                await asyncio.wait({working}, timeout=_BEAT)
                if working.done():
                    return working.result()
                if self._stop.is_set():
                    raise Stopped
                if self._seen != seen:
                    seen, moved_at = self._seen, self._office.seconds()
                elif phase is Phase.FETCHING and self._office.seconds() - moved_at > _SILENCE:
                    raise Unavailable(f"Nothing has come for {_SILENCE / 60:.0f} minutes. See to the source.")
                await self._beat()
        finally:
            if not working.done():
                self.stop()
                await asyncio.wait({working}, timeout=_PATIENCE)
            if not working.done():
                log.info("%s still waits for something; it ends when that comes", name)

    async def enter(self, phase: Phase, **changes: Any) -> None:
        if self._stop.is_set():
            raise Stopped
        self._seen, self._meter = (0, None), Meter()
        await self.write(enter(replace(self.transfer, **changes), phase, self._office.clock()))

    async def write(self, after: Transfer) -> None:
        """Raises Stopped where the transfer is no longer this attempt's."""
        try:
            await self._office.store.write(self.transfer, after)
        except VersionConflict as error:
            raise Stopped from error
        self.transfer = after
        self._written_at = self._office.seconds()

    async def settle(self, end: Callable[[Transfer, datetime], Transfer]) -> None:
        """Write what has become of it, however long the database is away."""
        while True:
            try:
                await self.write(end(self.transfer, self._office.clock()))
                break
            except Unavailable as error:
                log.warning("The end of the transfer %s could not be written: %s", self.transfer.id, error)
                await asyncio.sleep(_PAUSE)
        self._office.transfers.tell(self.transfer)

    async def _beat(self) -> None:
        now, (done, total) = self._office.seconds(), self._seen
        rate = self._meter.see(now, done)
        transfer = self.transfer
        try:
            if now - self._written_at >= WRITE_EVERY and (done, total, rate) != (
                transfer.done, transfer.total, transfer.rate
            ):  # fmt: skip
                await self.write(advance(transfer, done, total, rate, self._office.clock()))
            elif self._office.store.shared:
                there = await self._office.store.get(transfer.id)
                if there is None or there.claim != transfer.claim:
                    raise Stopped
        except Unavailable as error:
            # The bytes move on; who waits for news waits a little longer.
            log.warning("How far the transfer %s is could not be written: %s", transfer.id, error)


# What is to be done for a transfer of a kind, all but its end; how many bytes have come of it.
Work = Callable[[Haul], Awaitable[int]]


class Carrier:
    """Carries out the transfers of ``site`` while this process is ``driving`` it; their folders are below ``folder``,
    and nothing else is."""

    def __init__(
        self, office: Office, works: Mapping[TransferKind, Work], *, site: str, folder: Path,
        driving: Callable[[], bool], at_once: int = AT_ONCE, pause: float = _PAUSE,
    ) -> None:  # fmt: skip
        self._office, self._works, self._site, self._folder = office, works, site, folder
        self._driving, self._at_once, self._pause = driving, at_once, pause
        self._told = asyncio.Event()
        self._hauls: dict[str, tuple[Transfer, Haul | None, asyncio.Task[None]]] = {}
        # When a namespace's last one began, and when one that failed may be tried again.
        self._began: dict[str, float] = {}
        self._not_before: dict[str, float] = {}
        self._swept = False
        office.transfers.on_change = self.tell

    def tell(self, changed: Transfer) -> None:
        """A transfer was begun, or is over."""
        if changed.is_over and (entry := self._hauls.get(changed.id)) is not None and entry[1] is not None:
            entry[1].stop()
        self._told.set()

    async def run(self) -> None:
        """Look when it is told to, and now and then. Cancelled, it gives back what is under way."""
        failures = 0
        try:
            while True:
                self._told.clear()
                try:
                    await self._look()
                    failures = 0
                except Exception as error:
                    # Whatever it is, transfers are to go on once it has passed: a full disk is no end.
                    pause = min(self._pause * 2**failures, _LONGEST_PAUSE)
                    failures = min(failures + 1, _COUNTED)
                    log.warning(
                        "Transfers could not be looked through, which is tried again in %.0f s: %s", pause, error,
                        exc_info=None if isinstance(error, ModelyardError) else error,
                    )  # fmt: skip
                    await asyncio.sleep(pause)
                    continue
                try:
                    async with asyncio.timeout(self._wake_in()):
                        await self._told.wait()
                except TimeoutError:
                    continue
        finally:
            await tasks.stop(*(task for _, _, task in self._hauls.values()))

    async def _look(self) -> None:
        if not self._driving():
            self._swept = False
            for _, haul, _ in self._hauls.values():
                if haul is not None:
                    haul.stop()
            return
        if len(self._hauls) >= self._at_once and self._swept:
            return
        active = {transfer.id: transfer for transfer in await self._office.store.active(self._site)}
        if not self._swept:
            await asyncio.to_thread(_sweep, self._folder, active.keys() | self._hauls.keys())
            self._swept = True
        now = self._office.seconds()
        self._not_before = {id_: at for id_, at in self._not_before.items() if id_ in active}
        waiting = [t for t in active.values() if t.id not in self._hauls and self._not_before.get(t.id, now) <= now]
        while len(self._hauls) < self._at_once:
            chosen = next_up(waiting, [t for t, _, _ in self._hauls.values()], self._began)
            if chosen is None:
                return
            waiting.remove(chosen)
            self._began[chosen.namespace] = now
            task = tasks.spawn(self._carry(chosen), f"transfer {chosen.id}")
            self._hauls[chosen.id] = (chosen, None, task)

    def _wake_in(self) -> float:
        now = self._office.seconds()
        pauses = [max(at - now, 0.01) for id_, at in self._not_before.items() if id_ not in self._hauls]
        return min(_LOOK_EVERY if self._office.store.shared else _LOOK_ALONE_EVERY, *pauses, _LOOK_ALONE_EVERY)

    async def _carry(self, waiting: Transfer) -> None:
        haul: Haul | None = None
        try:
            haul = await self._claimed(waiting)
            if haul is not None:
                await self._attempt(haul)
        except Stopped:
            log.info("The transfer %s goes on no longer here", waiting.id)
        except Exception as error:
            log.warning(
                "The transfer %s could not be taken up: %s", waiting.id, error,
                exc_info=None if isinstance(error, ModelyardError) else error,
            )  # fmt: skip
            self._not_before[waiting.id] = self._office.seconds() + self._pause
        finally:
            try:
                if await self._is_over(waiting.id):
                    await asyncio.to_thread(_remove, self._folder / waiting.id)
            finally:
                del self._hauls[waiting.id]
                self._told.set()

    async def _claimed(self, waiting: Transfer) -> Haul | None:
        """None: it was taken up too often."""
        taken = take_up(waiting, secrets.token_hex(8), self._office.clock())
        try:
            await self._office.store.write(waiting, taken)
        except VersionConflict as error:
            raise Stopped from error
        self._office.transfers.tell(taken)
        if taken.is_over:
            return None
        haul = Haul(self._office, taken, self._folder / taken.id)
        _, _, task = self._hauls[taken.id]
        self._hauls[taken.id] = (taken, haul, task)
        return haul

    async def _attempt(self, haul: Haul) -> None:
        try:
            size = await self._works[haul.transfer.kind](haul)
            await haul.settle(partial(succeed, size=size))
        except asyncio.CancelledError:
            # This process ends on purpose. If it cannot be written, it looks as if it had been killed.
            try:
                await haul.write(give_back(haul.transfer, self._office.clock()))
            except (Stopped, ModelyardError) as error:
                log.warning("The transfer %s was not given back: %r", haul.transfer.id, error)
            raise
        except Stopped:
            raise
        except Exception as error:
            await self._failed(haul, error)

    async def _failed(self, haul: Haul, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno in _FULL:
            error = NoSpace()
        told = TransferError(code=getattr(error, "code", "internal_error"), message=_sentence(error))
        if not may_pass(error):
            log.warning("The transfer %s failed: %s", haul.transfer.id, told.message)
            await haul.settle(lambda transfer, now: fail(transfer, told, now))
            return
        pause = self._pause * 2 ** (haul.transfer.attempt - 1)
        self._not_before[haul.transfer.id] = self._office.seconds() + pause
        await haul.settle(lambda transfer, now: retry(transfer, told, now))
        log.warning("Attempt %d at the transfer %s failed: %s", haul.transfer.attempt, haul.transfer.id, told.message)

    async def _is_over(self, transfer_id: str) -> bool:
        try:
            there = await self._office.store.get(transfer_id)
        except ModelyardError:
            return False
        return there is None or there.is_over


def may_pass(error: Exception) -> bool:
    """Whether to try again may help: something was not there, or the disk failed. What the caller or this program did
    wrong stays wrong."""
    return isinstance(error, (Unavailable, VersionConflict, OSError)) and not isinstance(error, Lasting)


def _sentence(error: Exception) -> str:
    if isinstance(error, ModelyardError):
        return error.message
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}."
    log.error("A transfer failed unexpectedly", exc_info=error)
    return f"Something unexpected happened, which is a fault of Modelyard: {type(error).__name__}."


def _remove(folder: Path) -> None:
    # Under another name first: a thread that is left over finds nothing of it.
    gone = folder.with_name(f"{folder.name}.gone")
    with contextlib.suppress(OSError):
        folder.rename(gone)
    for path in (gone, folder):
        shutil.rmtree(path, ignore_errors=True)


def _sweep(folder: Path, keep: set[str]) -> None:
    """Remove the folders of transfers that are over, which a killed process has left."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)
