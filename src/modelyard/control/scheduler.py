"""Carries schedules out: one loop for all models of a site, while this process drives it.

In memory is only when to look at which schedule next. What is due is worked out of what is stored, and what came of it
is written in the transaction that makes the command: wherever a process ends, the next one finds an occurrence either
done or still to do.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from modelyard.control.carrying import SET_BACK, Carrying
from modelyard.control.holidays import names_of
from modelyard.control.schedule_ports import ScheduleStore
from modelyard.domain.errors import ModelyardError
from modelyard.domain.occurrences import next_occurrence
from modelyard.domain.scheduling import ModelSchedule
from modelyard.tasks import spawn, stop

log = logging.getLogger(__name__)

# The loop wakes at least so often (seconds): a clock that was set shows by then.
LOOK_EVERY: Final = 30.0
# Seconds between two looks for schedules that others have changed without a word that was heard.
_COMPARE_EVERY: Final = 60.0
# The same for whether this process drives by now.
_STAND_BY: Final = 1.0
# Schedules that are carried out side by side.
_ABREAST: Final = 64
# Schedules that are read, and whose next time is computed, at a time; what is due is looked at in between.
_CHUNK: Final = 250
# Seconds until one that raised is looked at again.
_AGAIN: Final = 5.0
# Where nothing comes for years, it is asked again after this.
_FAR: Final = timedelta(days=30)

# When, which, and its edits as they were.
_Entry = tuple[float, str, int]


class Scheduler:
    """Looks at each schedule of ``site`` when something is due. ``shared``: other processes may change schedules."""

    def __init__(
        self, schedules: ScheduleStore, carrying: Carrying, site: str, driving: Callable[[], bool],
        clock: Callable[[], datetime], *, shared: bool,
    ) -> None:  # fmt: skip
        self._schedules, self._carrying, self._site = schedules, carrying, site
        self._driving, self._clock, self._shared = driving, clock, shared
        self._heap: list[_Entry] = []
        # The one entry of each schedule that counts; others in the heap are from before.
        self._next: dict[str, _Entry] = {}
        # Those that wait for an operation or for a retry: news of their models concern them.
        self._watched: set[str] = set()
        self._told: set[str] = set()
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._stirred = asyncio.Event()
        self._loaded = False
        self._compare_at = 0.0
        # The latest time that was seen since they were loaded.
        self._latest = 0.0

    def tell(self, uid: str | None, rescheduled: bool) -> None:
        """A watcher of :attr:`modelyard.control.changes.ChangeFeed.watchers`."""
        if uid is None:
            self._compare_at = 0.0
        elif rescheduled or uid in self._watched:
            self._told.add(uid)
        else:
            return
        self._stirred.set()

    async def run(self) -> None:
        try:
            while True:
                self._stirred.clear()
                pause = _STAND_BY
                try:
                    await self._turn()
                    pause = self._pause()
                except ModelyardError as error:
                    log.warning("Schedules could not be looked through: %s", error)
                except Exception:
                    log.exception("Looking through the schedules failed; it goes on in %.0f s", _STAND_BY)
                try:
                    async with asyncio.timeout(pause):
                        await self._stirred.wait()
                except TimeoutError:
                    continue
        finally:
            await stop(*self._looks.values())

    async def settle(self) -> None:
        """Everything that is due now, to its end."""
        while True:
            await self._turn()
            if not self._looks:
                return
            await asyncio.gather(*self._looks.values())

    # ------------------------------------------------------------------ when

    async def _turn(self) -> None:
        """Begin to look at all that is due."""
        if not self._driving():
            self._forget_all()
            return
        if not self._loaded or self._clock().timestamp() < self._latest - LOOK_EVERY:
            # Where the clock was set back, what was planned by it is too late.
            await self._load()
            return
        if self._shared and asyncio.get_running_loop().time() >= self._compare_at:
            await self._compare()
        self._begin()

    def _begin(self) -> None:
        """What finds no place now is begun when another look is over."""
        now = self._clock().timestamp()
        self._latest = max(self._latest, now)
        waiting = set[str]()
        while len(self._looks) < _ABREAST and (uid := self._due(now)) is not None:
            if uid in self._looks:
                waiting.add(uid)
            else:
                self._looks[uid] = spawn(self._look(uid), f"schedule of model {uid}")
        self._told |= waiting

    def _due(self, now: float) -> str | None:
        if self._told:
            return self._told.pop()
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if self._next.get(entry[1]) is entry:
                return entry[1]
        return None

    def _pause(self) -> float:
        if not self._loaded:
            return _STAND_BY
        if not self._heap or len(self._looks) >= _ABREAST:
            return LOOK_EVERY
        return min(max(self._heap[0][0] - self._clock().timestamp(), 0.0), LOOK_EVERY)

    async def _look(self, uid: str) -> None:
        try:
            kept = await self._carrying.carry_out(uid, self._site)
            if kept is None:
                self._forget(uid)
            else:
                self._enter(*_plan(kept, self._clock()))
        except Exception as error:
            if not isinstance(error, ModelyardError):
                log.exception("Carrying out the schedule of model %s failed", uid)
            else:
                log.warning("The schedule of model %s could not be carried out: %s", uid, error)
            self._push((self._clock().timestamp() + _AGAIN, uid, self._next[uid][2] if uid in self._next else 0))
        finally:
            del self._looks[uid]
            self._stirred.set()

    async def _load(self) -> None:
        """Take all of them up, and begin to look at what is due meanwhile."""
        self._forget_all()
        self._compare_at = asyncio.get_running_loop().time() + _COMPARE_EVERY
        after = ""
        while self._driving():
            chunk = await self._schedules.chunk(self._site, after, _CHUNK)
            for entry, watched in await asyncio.to_thread(_plans, chunk, self._clock()):
                # What a look has found since the chunk was read is newer.
                if entry[1] not in self._next:
                    self._enter(entry, watched)
                    if watched:
                        self._told.add(entry[1])  # What it waits for may have come before anybody listened.
            self._loaded = len(chunk) < _CHUNK
            self._begin()
            if self._loaded:
                return
            after = chunk[-1].model_uid

    async def _compare(self) -> None:
        """Look at those that are others now, or gone."""
        self._compare_at = asyncio.get_running_loop().time() + _COMPARE_EVERY
        known = dict(self._next)
        try:
            edits = await self._schedules.edits(self._site)
        except ModelyardError:
            self._compare_at = 0.0
            raise
        self._told |= await asyncio.to_thread(_others, known, edits)

    def _enter(self, entry: _Entry, watched: bool) -> None:
        if watched:
            self._watched.add(entry[1])
        else:
            self._watched.discard(entry[1])
        self._push(entry)

    def _push(self, entry: _Entry) -> None:
        self._next[entry[1]] = entry
        heapq.heappush(self._heap, entry)

    def _forget(self, uid: str) -> None:
        self._next.pop(uid, None)
        self._watched.discard(uid)

    def _forget_all(self) -> None:
        self._heap, self._loaded, self._latest = [], False, 0.0
        self._told.clear()
        self._next.clear()
        self._watched.clear()


def _others(known: Mapping[str, _Entry], edits: Mapping[str, int]) -> set[str]:
    changed = {uid for uid, count in edits.items() if uid not in known or known[uid][2] != count}
    return changed | (known.keys() - edits.keys())


def _plans(chunk: Sequence[ModelSchedule], now: datetime) -> list[tuple[_Entry, bool]]:
    return [_plan(kept, now) for kept in chunk]


def _plan(kept: ModelSchedule, now: datetime) -> tuple[_Entry, bool]:
    """When to look at it next, and whether it waits for news of its model besides."""
    schedule, waits = kept.schedule, kept.pending is not None
    if kept.handled_until > now + SET_BACK:
        return (now.timestamp(), kept.model_uid, kept.edits), waits or kept.failure is not None
    coming = next_occurrence(schedule, kept.handled_until, names_of(schedule.holidays), kept.extension)
    at = now + _FAR if coming is None else coming.at
    if waits:
        # News may be lost, with the connection to the database that they come by.
        at = min(at, now + timedelta(seconds=LOOK_EVERY))
    elif kept.again_at is not None:
        at = min(at, kept.again_at)
    return (at.timestamp(), kept.model_uid, kept.edits), waits or kept.failure is not None
