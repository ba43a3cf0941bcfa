"""The history of the site's metrics: what the gateway counts and what instances hold, kept by time.

Fine samples of the last hour are in memory; sums of minutes are written once a minute, together with the gateway's
running totals that they come up to. So whatever the gateway has counted while no control process listened is added when
one does, and nothing is counted twice. Only models of which something is told cost anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from modelyard.control.history_ports import HistoryStore, Kept, Whose, Written
from modelyard.control.pace import Pace
from modelyard.control.ports import Fence, LeaseLost, Load
from modelyard.control.traffic import TrafficBook
from modelyard.domain.errors import ModelyardError
from modelyard.domain.history import (
    HOLDS_FOR,
    HOUR,
    MINUTE,
    MINUTES_KEPT,
    NOTHING,
    Sample,
    Stretch,
    below,
    fitting_step,
)
from modelyard.domain.model import Event

log = logging.getLogger(__name__)

# Seconds of a fine sample, for which fine samples are kept, and how many at most: some 15 MB.
FINE: Final = 5
_FINE_KEPT: Final = HOUR + 2 * MINUTE
_MOST_FINE: Final = 50_000
# Seconds between two looks at what instances hold; it is news once it has changed by this share.
_LOOK_EVERY: Final = 15
_CHANGED: Final = 0.02
# Models that are written in one transaction: some milliseconds.
_AT_ONCE: Final = 30

# Instances and the bytes that they hold, by the model's uid.
Holdings = Callable[[], Awaitable[Mapping[str, tuple[int, int]]]]


class History:
    """Of all models for readers; written in the tenure of a site."""

    def __init__(
        self, store: HistoryStore, traffic: TrafficBook, clock: Callable[[], datetime], kept: timedelta
    ) -> None:
        self._store = store
        self._traffic = traffic
        self._clock = clock
        self._kept = int(kept.total_seconds())
        self._site = self._gateway = ""
        self._totals: dict[str, Sample] = {}
        # Whose totals are not written as they are now.
        self._counted: set[str] = set()
        # What is not written yet, by model and minute.
        self._pending: dict[str, dict[int, Sample]] = {}
        self._frames: deque[tuple[int, dict[str, Sample]]] = deque()
        self._fine = 0
        # From when on fine samples are whole; None: there are none.
        self._fine_since: int | None = None
        # What instances held when it was last news, and when that was.
        self._held: dict[str, tuple[int, int, int]] = {}
        self._looked_at = self._minute = 0
        self._tidied_at = 0
        # Nobody reads between a write and its end: what is pending would count twice or not at all.
        self._writing = asyncio.Lock()
        self._told = asyncio.Event()

    def _now(self) -> int:
        return int(self._clock().timestamp())

    # ---------------------------------------------------------------- in the tenure

    async def run(self, fence: Fence, holdings: Holdings) -> None:
        """Until it is cancelled; then what is known is written."""
        self._traffic.on_told = self._told.set
        self._site, self._gateway = fence.site, ""
        self._held.clear()
        self._tidied_at = self._now() - HOUR + MINUTE
        try:
            while True:
                try:
                    await self.look(fence, holdings)
                except LeaseLost:
                    pass  # the tenure is being ended
                except ModelyardError as error:
                    log.warning("The history of metrics could not be written: %s", error)
                except Exception:
                    log.exception("Keeping the history of metrics failed")
                await self._wait()
        finally:
            self._traffic.on_told = lambda: None
            await self._end(fence)

    async def _end(self, fence: Fence) -> None:
        try:
            await self._take()
            await self._write(fence)
        except ModelyardError as error:
            log.warning("The last minute of the history of metrics could not be written: %s", error)
        self._pending.clear()
        self._counted.clear()
        self._frames.clear()
        self._fine, self._fine_since = 0, None

    async def _wait(self) -> None:
        """Until the next fine sample is due; where nothing happens, until it does or instances are to be looked at."""
        now = self._clock().timestamp()
        if not self._pending and not self._told.is_set():
            try:
                async with asyncio.timeout(_LOOK_EVERY - now % _LOOK_EVERY):
                    await self._told.wait()
            except TimeoutError:
                return
            now = self._clock().timestamp()
        await asyncio.sleep(FINE - now % FINE)

    async def look(self, fence: Fence, holdings: Holdings) -> None:
        """Take down what was told since the last look. Raises what the store does; then nothing is lost."""
        now = self._now()
        if self._fine_since is None:
            await self._begin(now)
        self._told.clear()
        await self._take()
        if now - self._looked_at >= _LOOK_EVERY or now < self._looked_at:
            self._looked_at = now
            await self._look_at(await holdings(), now)
        minute = below(now, MINUTE)
        if minute != self._minute:
            await self._write(fence)
            self._minute = minute
        if now - self._tidied_at >= HOUR:
            self._tidied_at = now
            await self._store.roll_up(now - MINUTES_KEPT)
            await self._store.forget(now - self._kept)

    async def _begin(self, now: int) -> None:
        for uid, kept in (await self._store.held(now - HOUR)).items():
            self._held[uid] = (kept.sample.instances or 0, kept.sample.memory or 0, 0)
        # The first look may tell of what was counted before it.
        self._fine_since = below(now, FINE) + FINE
        self._minute = below(now, MINUTE)

    async def _take(self) -> None:
        """What the gateway has told; what it counted while nobody listened belongs to no fine sample."""
        at = self._now() - 1
        told, self._traffic.told = self._traffic.told, {}
        pace = Pace()
        try:
            while told:
                (gateway, uid), load = next(iter(told.items()))
                if gateway != self._gateway:
                    await self._follow(gateway)
                del told[gateway, uid]
                self._count(uid, load, at)
                await pace.step()
        finally:
            # Newer ones stay.
            self._traffic.told = told | self._traffic.told

    async def _follow(self, gateway: str) -> None:
        """Its counts begin at nought, or where the history ends that an earlier tenure has written of it."""
        if not self._gateway:
            self._totals = dict(await self._store.totals(self._site, gateway))
            # What it tells now may be from long before.
            self._fine_since = max(self._fine_since or 0, below(self._now(), FINE) + FINE)
        else:
            self._totals = {}
        self._gateway = gateway
        self._counted.clear()

    def _count(self, uid: str, load: Load, at: int) -> None:
        total = _total(load)
        before = self._totals.get(uid, NOTHING)
        if total == before:
            return
        sample = total.since(before)
        self._totals[uid] = total
        self._counted.add(uid)
        self._add(uid, sample, at)

    def _add(self, uid: str, sample: Sample, at: int) -> None:
        minutes = self._pending.setdefault(uid, {})
        minute = below(at, MINUTE)
        minutes[minute] = minutes.get(minute, NOTHING).plus(sample)
        if self._fine_since is None or at < self._fine_since:
            return
        frame = below(at, FINE)
        if not self._frames or self._frames[-1][0] != frame:
            self._frames.append((frame, {}))
        samples = self._frames[-1][1]
        self._fine += uid not in samples
        samples[uid] = samples.get(uid, NOTHING).plus(sample)
        while self._fine > _MOST_FINE or self._frames[0][0] < frame - _FINE_KEPT:
            gone, dropped = self._frames.popleft()
            self._fine -= len(dropped)
            self._fine_since = max(self._fine_since, gone + FINE)

    async def _look_at(self, held: Mapping[str, tuple[int, int]], now: int) -> None:
        pace = Pace()
        for uid in [uid for uid, (instances, *_) in self._held.items() if instances and uid not in held]:
            self._hold(uid, 0, 0, now)
            del self._held[uid]
        for uid, (instances, memory) in held.items():
            before = self._held.get(uid)
            if before is None or _differs(before, instances, memory) or now - before[2] >= HOLDS_FOR - 2 * MINUTE:
                self._hold(uid, instances, memory, now)
            await pace.step()

    def _hold(self, uid: str, instances: int, memory: int, now: int) -> None:
        self._held[uid] = (instances, memory, now)
        self._add(uid, replace(NOTHING, instances=instances, memory=memory), now)

    async def _write(self, fence: Fence) -> None:
        async with self._writing:
            while uids := list(islice(self._pending, _AT_ONCE)):
                of = {
                    uid: Written(
                        minutes=self._pending[uid], totals=self._totals.get(uid) if uid in self._counted else None
                    )
                    for uid in uids
                }
                await self._store.add(self._gateway, of, fence)
                for uid in uids:
                    del self._pending[uid]
                    self._counted.discard(uid)

    # ---------------------------------------------------------------- for readers

    def stretch(
        self, start: datetime, end: datetime, step: int | None = None, *, born: datetime | None = None
    ) -> Stretch:
        """The points that can be told of that time: none finer than what is kept of it, nor in the future. ``born``:
        when the model was made; None: of all models together, of which minutes are kept at the least."""
        now = self._now()
        last = min(int(end.timestamp()), now)
        first = min(int(start.timestamp()), last)
        finest = MINUTE
        if first < now - MINUTES_KEPT:
            finest = HOUR
        elif born is not None and self._fine_since is not None:
            # Before it was made there was nothing to miss.
            finest = FINE if max(first, int(born.timestamp())) >= self._fine_since else MINUTE
        step = fitting_step(max(last - first, 1), finest, step)
        return Stretch(start=below(first, step), end=last, step=step)

    async def of_model(self, uid: str, over: Stretch) -> tuple[list[Sample], list[tuple[int | None, int | None]]]:
        """What was counted at each point, and instances and memory then."""
        async with self._writing:
            last = await self._store.last_held(uid, over.start)
            written = [] if over.step < MINUTE else list(await self._store.of_model(uid, over.start, over.end))
            pending = [Kept(at=at, length=MINUTE, sample=s) for at, s in self._pending.get(uid, {}).items()]
        found = written + pending
        if over.step < MINUTE:
            found = [Kept(at=at, length=FINE, sample=samples[uid]) for at, samples in self._frames if uid in samples]
        points = over.points((kept.at, kept.sample) for kept in found)
        held = found if over.step >= MINUTE else found + pending
        return points, over.holdings((k.at, k.length, k.sample) for k in ([last] if last else []) + held)

    async def of_all(self, whose: Whose, over: Stretch) -> list[Sample]:
        """What was counted of all these models together at each point, which are of minutes at least."""
        async with self._writing:
            found = list((await self._store.sums(whose, over.start, over.end, over.step)).items())
            pending = {uid: dict(minutes) for uid, minutes in self._pending.items()}
            seen = await self._store.visible(whose, pending) if pending else ()
        found += [(at, sample) for uid in seen for at, sample in pending[uid].items()]
        return over.points(found)

    async def marks(self, uid: str, over: Stretch, limit: int) -> Sequence[Event]:
        """The model's latest events of that time that may be marks, the newest first."""
        # The last second is not over yet.
        return await self._store.marks(uid, over.start, over.end + 1, limit)


def _total(load: Load) -> Sample:
    answered = load.answered
    if answered is None:
        return Sample(busy=load.busy)
    return Sample(
        requests=answered.answers, errors=answered.errors, rejected=answered.rejected, busy=load.busy,
        buckets=answered.buckets,
    )  # fmt: skip


def _differs(before: tuple[int, int, int], instances: int, memory: int) -> bool:
    return before[0] != instances or abs(before[1] - memory) > _CHANGED * max(before[1], 1)
