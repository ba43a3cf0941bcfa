"""Carries out what :mod:`schedule` decides: loads, swaps, evicts, tries again; all on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

from modelyard.runtime.dataplane import DataPlane
from modelyard.runtime.engines.base import Model
from modelyard.runtime.errors import LoadFailure, RequestError
from modelyard.runtime.manager.config import Settled
from modelyard.runtime.manager.entries import Entry, Failed, Job, Loaded, ModelUnavailable
from modelyard.runtime.manager.events import Kind
from modelyard.runtime.manager.memory import SizeFrom, mib
from modelyard.runtime.manager.refusals import failure_of, too_large, unavailable
from modelyard.runtime.manager.retired import Retired
from modelyard.runtime.manager.schedule import Evict, Leave, Memory, Refuse, Start, decide, overflow
from modelyard.tasks import spawn, stop

VERSION: Final = "1"
_log = logging.getLogger("modelyard.runtime")


class Tell(Protocol):
    def __call__(self, kind: Kind, model: str, message: str = "", seconds: float | None = None) -> None: ...


class Loading:
    """All registered models. ``changed`` is called when something may have become ready."""

    def __init__(self, config: Settled, changed: Callable[[], None], tell: Tell) -> None:
        self.config = config
        self.entries: dict[str, Entry] = {}
        self._changed = changed
        self._tell = tell
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self._numbers = itertools.count()
        self._waiting: list[Job] = []
        self._under_way: list[Job] = []
        self._retired = Retired(self._freed)
        # What is cancelled at the end, and what is waited for.
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads: set[asyncio.Task[None]] = set()
        # Counts what changes the process's memory, so that a load knows whether it was alone.
        self._disturbances = 0
        self._calm: asyncio.TimerHandle | None = None

    # ---------------------------------------------------------------- from beginning to end

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError(
                "The model manager is not running: give its lifespan to the application (FastAPI(lifespan="
                "manager.lifespan)), or await manager.start()."
            )
        return self._loop

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def begin(self) -> None:
        for entry in self.entries.values():
            self.see_to(entry)
        self.pump()

    def see_to(self, entry: Entry) -> None:
        """Have it loaded ahead, if it is to be."""
        if entry.critical or entry.preload:
            self._enqueue(entry, wanted=True)

    async def close(self) -> None:
        """Load nothing more; free everything as soon as nobody uses it, or when the time is up."""
        self._ended = True
        if self._calm is not None:
            self._calm.cancel()
        for entry in self.entries.values():
            if entry.retry is not None:
                entry.retry.cancel()
        for job in (*self._waiting, *self._under_way):
            self._refuse(job)
            self._detach(job)
        await stop(*self._tasks)
        if self._threads:
            # Native code does not survive the interpreter's end.
            await asyncio.wait(self._threads, timeout=self.config.drain_timeout)
        await stop(*self._threads)
        for entry in self.entries.values():
            if entry.loaded is not None:
                self._retire(entry)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.drain_timeout):
                await self._retired.gone()

    # ---------------------------------------------------------------- lent out

    def find(self, name: str) -> Entry:
        """Raises:
        RequestError: (404) there is none of that name
        """
        entry = self.entries.get(name)
        if entry is None:
            known = ", ".join(self.entries) or "none yet"
            raise RequestError(404, "model_not_found", f"There is no model {name!r} here; there are: {known}.")
        return entry

    async def lend(self, name: str, timeout: float | None) -> Loaded:
        """The loaded model, which is in use until it is given back; loaded first if need be, once for all who ask.

        Raises:
            ModelUnavailable: it cannot be had now, or not within ``timeout`` seconds
            RequestError: (404) there is none of that name
        """
        entry = self.find(name)
        if entry.loaded is not None:
            entry.loaded.uses += 1
            return entry.loaded
        if entry.job is None and not self._may_load(entry):
            raise self._unavailable(entry)
        return await self._wait(entry.job or self._enqueue(entry, wanted=False), timeout)

    def give_back(self, loaded: Loaded) -> None:
        loaded.uses -= 1
        loaded.used_at = self.loop.time()
        if self._calm is not None:
            self._calm.cancel()
            # Behind the answer that is sent now.
            self.loop.call_soon(self._end_calm)
        if loaded.uses:
            return
        if loaded.retired:
            self._retired.free(loaded)
        elif self._waiting:
            self.pump()

    def _may_load(self, entry: Entry) -> bool:
        if self._ended or entry.out:
            return False
        failed = entry.failed
        return failed is None or (failed.retry_at is not None and self.loop.time() >= failed.retry_at)

    async def _wait(self, job: Job, timeout: float | None) -> Loaded:
        waiter: asyncio.Future[Loaded] = self.loop.create_future()
        job.waiters.append(waiter)
        self.pump()
        try:
            async with asyncio.timeout(timeout):
                try:
                    return await waiter
                except BaseException:
                    if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                        # It came in the moment in which its caller went.
                        self.give_back(waiter.result())
                    raise
        except TimeoutError:
            raise self._unavailable(job.entry) from None
        finally:
            if job in self._waiting and not job.wanted and not job.asked:
                self._detach(job)

    # ---------------------------------------------------------------- by request

    async def load(self, name: str) -> None:
        """Have it loaded now, whatever became of it before; one that is loaded is loaded anew and swapped.

        Raises:
            ModelUnavailable: it could not be loaded; one that was there goes on
        """
        entry = self.find(name)
        if self._ended:
            raise self._unavailable(entry)
        entry.out = False
        self._forget_failure(entry)
        waiters: list[asyncio.Future[Loaded]] = []
        if entry.job is not None and entry.job.started:
            # It may have read what has been changed since. Who waits for it waits for the new one.
            waiters, entry.job.waiters = entry.job.waiters, []
            self._detach(entry.job)
        job = entry.job or self._enqueue(entry, wanted=entry.critical or entry.preload)
        job.waiters += waiters
        self.give_back(await self._wait(job, None))

    async def unload(self, name: str) -> None:
        """Free it and leave it out until it is loaded by request. Returns when its memory is free.

        Raises:
            RequestError: (409) the process or another model needs it
        """
        loaded = self._put_out(self.find(name))
        if loaded is not None:
            await loaded.freed.wait()

    async def remove(self, name: str) -> None:
        """As :meth:`unload`, and forget it at once."""
        loaded = self._put_out(self.find(name))
        del self.entries[name]
        self._changed()
        if loaded is not None:
            await loaded.freed.wait()

    def _put_out(self, entry: Entry) -> Loaded | None:
        """Returns what is to be freed, if it was loaded."""
        name, loaded = entry.name, entry.loaded
        needing = [other.name for other in self.entries.values() if other.loaded and name in other.depends_on]
        if entry.critical or needing:
            who = f"{', '.join(needing)} needs it" if needing else "it is critical"
            raise RequestError(409, "model_needed", f"{name} cannot be unloaded: {who}.")
        entry.out = True
        self._forget_failure(entry)
        if entry.job is not None:
            self._refuse(entry.job)
            self._detach(entry.job)
        if loaded is not None:
            self._retire(entry)
            self._tell(Kind.UNLOADED, name)
        self._changed()
        return loaded

    def lose_patience(self) -> list[str]:
        """Nobody waits any more for the critical models that are not there. Returns their names."""
        for job in (*self._waiting, *self._under_way):
            job.overdue = job.overdue or job.entry.critical
        self.pump()
        return [entry.name for entry in self.entries.values() if entry.critical and entry.loaded is None]

    # ---------------------------------------------------------------- one load

    def _enqueue(self, entry: Entry, *, wanted: bool) -> Job:
        job = Job(entry=entry, number=next(self._numbers), wanted=wanted, need=entry.need)
        entry.job = job
        self._waiting.append(job)
        if entry.depends_on:
            job.eligible = False
            self._spawn(self._hold(job), f"what {entry.name} depends on", self._tasks)
        return job

    async def _hold(self, job: Job) -> None:
        """Borrow what the model depends on, for as long as it is loaded."""
        held: list[Loaded] = []
        try:
            for name in job.entry.depends_on:
                held.append(await self.lend(name, None))
        except RequestError as error:
            self._give_back_all(held)
            if job in self._waiting:
                message = f"What it depends on is not there: {error.detail}"
                self._fail(job, LoadFailure("dependency_failed", message, permanent=False))
            return
        except asyncio.CancelledError:
            self._give_back_all(held)
            raise
        if job not in self._waiting:
            self._give_back_all(held)
            return
        job.holds, job.eligible = tuple(held), True
        self.pump()

    def pump(self) -> None:
        """Begin whatever can be begun now."""
        while not self._ended:
            waiting = {job.entry.name: job for job in self._waiting if job.eligible}
            step = decide(
                [job.load for job in waiting.values()],
                [job.load for job in self._under_way],
                self._memory(),
                self.config.max_parallel_loads,
                calm=self._calm is not None,
            )
            match step:
                case None:
                    return
                case Start(name):
                    self._start(waiting[name])
                case Evict(_, things):
                    self._evict(thing.what for thing in things)
                case Leave(name):
                    waiting[name].entry.settled = True
                    self._detach(waiting[name])
                    self._tell(Kind.LEFT, name, "There is no free room for it: it is loaded when it is first used.")
                    self._changed()
                case Refuse(name, need, pinned):
                    self._fail(waiting[name], too_large(name, need, pinned, self.config.memory_budget or 0))

    def _memory(self) -> Memory:
        held = [entry.thing() for entry in self.entries.values() if entry.loaded is not None]
        # An old one that something still depends on goes with that.
        kept = {piece for thing in held for piece in thing.pieces}
        return Memory(budget=self.config.memory_budget, held=held, closing=self._retired.size(kept))

    def _start(self, job: Job) -> None:
        job.started = True
        self._waiting.remove(job)
        self._under_way.append(job)
        self._disturbances += 1
        self._tell(Kind.LOADING, job.entry.name)
        kind = self._threads if job.entry.loader.threaded else self._tasks
        self._spawn(self._run(job), f"load {job.entry.name}", kind)

    async def _run(self, job: Job) -> None:
        entry, began = job.entry, self.loop.time()
        alone, disturbances = len(self._under_way) == 1, self._disturbances
        try:
            made = await entry.loader.load()
        except BaseException as error:
            self._give_back_all(job.holds)
            self._fail(job, failure_of(entry.name, error))
            if isinstance(error, Exception):
                return
            raise
        size, size_from = entry.size_of(made, alone=alone and disturbances == self._disturbances)
        model = made.value
        plane = None
        if isinstance(model, Model):
            plane = DataPlane(model, name=entry.name, version=VERSION, loop=self.loop)
        loaded = Loaded(
            name=entry.name, loader=entry.loader, value=model, plane=plane, size=size, size_from=size_from,
            seconds=self.loop.time() - began, holds=job.holds,
        )  # fmt: skip
        self._done(job, loaded)

    def _done(self, job: Job, loaded: Loaded) -> None:
        entry, budget = job.entry, self.config.memory_budget
        if loaded.size_from is SizeFrom.MEASURED:
            entry.known_size = loaded.size
        if budget is not None and loaded.size > budget:
            self._let_go(loaded)
            self._fail(job, too_large(entry.name, loaded.size, 0, budget))
            return
        self._under_way.remove(job)
        if entry.job is not job:
            self._let_go(loaded)
            self.pump()
            return
        entry.job = None
        replaced = entry.loaded
        if replaced is not None:
            self._retire(entry)
        entry.loaded, entry.settled, entry.loads = loaded, True, entry.loads + 1
        self._forget_failure(entry)
        for waiter in job.waiters:
            if not waiter.done():
                loaded.uses += 1
                waiter.set_result(loaded)
        self._tell(Kind.READY if replaced is None else Kind.SWAPPED, entry.name, "", loaded.seconds)
        self._evict(thing.what for thing in overflow(self._memory(), [job.load for job in self._under_way]))
        self._changed()
        if entry.critical and entry.loads == 1 and self.config.head_start:
            self._calm = self._calm or self.loop.call_later(self.config.head_start, self._end_calm)
        # Whoever has waited for this one is answered before the next load takes the processor.
        self.loop.call_soon(self.pump)

    def _end_calm(self) -> None:
        self._calm = None
        self.pump()

    def _fail(self, job: Job, failure: LoadFailure) -> None:
        entry = job.entry
        is_current = entry.job is job
        self._detach(job)
        if job.started:
            self._under_way.remove(job)
        if is_current and not self._ended:
            self._note_failure(entry, failure)
        self._refuse(job)
        self._changed()
        self.pump()

    def _again(self, entry: Entry) -> None:
        entry.retry = None
        if entry.job is None and entry.loaded is None and not self._ended:
            self._enqueue(entry, wanted=True)
            self.pump()

    def _note_failure(self, entry: Entry, failure: LoadFailure) -> None:
        count = 1 + (entry.failed.count if entry.failed is not None else 0)
        self._forget_failure(entry)
        # Where an old one goes on, nothing is tried again by itself.
        pause = self.config.backoff(count) if entry.loaded is None else 0.0
        entry.failed = Failed(failure, count, None if failure.permanent else self.loop.time() + pause)
        if not failure.permanent and entry.loaded is None and (entry.critical or entry.preload):
            entry.retry = self.loop.call_later(pause, self._again, entry)
        self._tell(Kind.FAILED if entry.loaded is None else Kind.KEPT, entry.name, failure.message)

    def _detach(self, job: Job) -> None:
        """It is no longer its model's load; what comes of one that is under way is let go of when it is there."""
        if job.entry.job is job:
            job.entry.job = None
        if job in self._waiting:
            self._waiting.remove(job)
            self._give_back_all(job.holds)
            job.holds = ()

    def _forget_failure(self, entry: Entry) -> None:
        entry.failed = None
        if entry.retry is not None:
            entry.retry.cancel()
            entry.retry = None

    def _refuse(self, job: Job) -> None:
        for waiter in job.waiters:
            if not waiter.done():
                waiter.set_exception(self._unavailable(job.entry))

    def _unavailable(self, entry: Entry) -> ModelUnavailable:
        return unavailable(entry, self.loop.time(), ended=self._ended)

    # ---------------------------------------------------------------- what goes

    def _evict(self, going: Iterable[Loaded]) -> None:
        for loaded in tuple(going):
            entry = self.entries[loaded.name]
            entry.evictions += 1
            self._retire(entry)
            self._tell(Kind.EVICTED, loaded.name, f"{mib(loaded.size)} for another model")

    def _retire(self, entry: Entry) -> None:
        loaded = entry.loaded
        assert loaded is not None
        entry.loaded = None
        self._let_go(loaded)

    def _let_go(self, loaded: Loaded) -> None:
        self._disturbances += 1
        self._retired.add(loaded)

    def _freed(self, loaded: Loaded) -> None:
        self._disturbances += 1
        self._give_back_all(loaded.holds)
        self._tell(Kind.FREED, loaded.name)
        self.pump()

    def _give_back_all(self, held: Iterable[Loaded]) -> None:
        for one in held:
            self.give_back(one)

    def _spawn(self, coro: Coroutine[Any, Any, None], name: str, kind: set[asyncio.Task[None]]) -> None:
        task = spawn(coro, name)
        kind.add(task)
        task.add_done_callback(kind.discard)
