"""The one door to the store for changes: commit, then tell everyone who waits for news.

What other control processes on the same database commit is heard here too, and passed on to the same listeners.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from modelyard.control.ports import EventQuery, Fence, Idempotency, News, Place, Store
from modelyard.domain.commands import Change
from modelyard.domain.errors import NotFound
from modelyard.domain.model import Event
from modelyard.domain.operations import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

# News of other processes can be lost with a connection, so listeners also look by themselves this often (seconds).
POLL = 2.0
_EVENT_BATCH = 500
_FOLLOWERS = ""
_TOUCHES = "*"


class ChangeFeed:
    """Commits changes and wakes those who follow them. Waiting costs nothing while nothing happens."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By what they wait for: an operation's id, or _FOLLOWERS for all events. Waking everybody at every
        # commit would have many waiters cost more than the commits.
        self._listeners: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        # Of each who asks for them: the models that were written since it last looked.
        self._touched: list[set[str]] = []
        # Set by whoever drives models here: what this process has committed, what another one has, and that news of
        # others may have been missed.
        self.on_commit: Callable[[Change], None] | None = None
        self.on_news: Callable[[News], None] | None = None
        self.on_gap: Callable[[], None] | None = None
        # Told the uid of each model of which an operation was written, here or elsewhere, and whether its schedule may
        # be another one now; None when some of it may have been missed.
        self.watchers: list[Callable[[str | None, bool], None]] = []
        # Members or keys may have changed.
        self.on_access: Callable[[], None] | None = None

    async def commit(
        self,
        change: Change,
        idempotency: Idempotency | Place | None = None,
        *,
        wake: bool = True,
        fence: Fence | None = None,
    ) -> Change:
        """Write ``change``. ``wake`` has the reconciler look at the model; its own writes need no look.
        ``fence``: only for as long as this process drives the model's site (LeaseLost otherwise)."""
        written = await self._store.commit(change, idempotency, fence)
        self._wake(*(o.id for o in written.operations), *([_FOLLOWERS] if written.events else []))
        of = written.after or written.before
        if of is not None and written.after != written.before:
            self._touch(of.uid)
        rescheduled = written.schedule is not None and written.schedule.by_user
        if of is not None and (written.operations or rescheduled):
            self._tell(of.uid, rescheduled)
        if wake:
            self.wake(written)
        return written

    def wake(self, written: Change) -> None:
        """Have the reconciler look at the model that ``written`` has changed, or has begun an operation on."""
        begun = any(not operation.done for operation in written.operations)
        if (begun or written.after != written.before) and self.on_commit is not None:
            self.on_commit(written)

    async def hear(self, news: AsyncIterator[News | None]) -> None:
        """Pass on what other processes commit, for as long as ``news`` comes."""
        async for item in news:
            if item is None:
                self.stir()
                self._access_changed()
                continue
            if item.access:
                self._access_changed()
                continue
            self._wake(_FOLLOWERS, *item.operations)
            self._touch(item.uid)
            self._tell(item.uid, True)
            if self.on_news is not None:
                self.on_news(item)

    def stir(self) -> None:
        """Have everyone look: anything may have changed."""
        self._wake(*self._listeners)
        self._tell(None, True)
        if self.on_gap is not None:
            self.on_gap()

    def _access_changed(self) -> None:
        if self.on_access is not None:
            self.on_access()

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """What is set with every commit that has events, and is the listener's to clear."""
        with self._listen(_FOLLOWERS) as news:
            yield news

    @contextmanager
    def touches(self) -> Iterator[set[str]]:
        """The uids of models as they are written, with an event or without one; the caller's to empty."""
        touched = set[str]()
        self._touched.append(touched)
        try:
            yield touched
        finally:
            self._touched = [other for other in self._touched if other is not touched]

    def _touch(self, uid: str) -> None:
        for touched in self._touched:
            touched.add(uid)
        self._wake(_TOUCHES)

    def stir_followers(self) -> None:
        """Events were written by another door than :meth:`commit`."""
        self._wake(_FOLLOWERS)

    async def wait_operation(self, operation_id: str, timeout: float) -> Operation:
        """The operation once it is done, or as it stands after ``timeout`` seconds.

        Raises:
            NotFound: there is no such operation.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        with self._listen(operation_id) as news:
            while True:
                news.clear()
                operation = await self._store.get_operation(operation_id)
                if operation is None:
                    raise NotFound(f"There is no operation {operation_id!r}.")
                left = deadline - asyncio.get_running_loop().time()
                if operation.done or left <= 0:
                    return operation
                await _wait(news, min(left, POLL))

    async def follow(self, query: EventQuery, *, heartbeat: float) -> AsyncIterator[Event | None]:
        """Events after ``query.after`` as they come; None after ``heartbeat`` seconds without one."""
        async for batch in self.batches(query, heartbeat=heartbeat):
            if not batch:
                yield None
            for event in batch:
                yield event

    async def batches(
        self, query: EventQuery, *, heartbeat: float, together: float = 0.0, touched: set[str] | None = None
    ) -> AsyncIterator[Sequence[Event]]:
        """Events after ``query.after`` as they come: those of ``together`` seconds at a time, at most 500; none of them
        after ``heartbeat`` seconds without any, and where something is in ``touched`` (see :meth:`touches`)."""
        last = query.after if query.after is not None else await self._store.last_event_id()
        quiet = 0.0
        with self._listen(_FOLLOWERS, *([_TOUCHES] if touched is not None else [])) as news:
            while True:
                news.clear()
                page = await self._store.list_events(replace(query, after=last, page_size=_EVENT_BATCH, page_token=""))
                if page.items or touched:
                    last, quiet = page.items[-1].id if page.items else last, 0.0
                    yield page.items
                elif not await _wait(news, POLL):
                    quiet += POLL
                    if quiet >= heartbeat:
                        quiet = 0.0
                        yield ()
                    continue
                if together:
                    await asyncio.sleep(together)

    def _tell(self, uid: str | None, rescheduled: bool) -> None:
        for watcher in self.watchers:
            watcher(uid, rescheduled)

    def _wake(self, *topics: str) -> None:
        for topic in topics:
            for listener in self._listeners.get(topic, ()):
                listener.set()

    @contextmanager
    def _listen(self, *topics: str) -> Iterator[asyncio.Event]:
        listener = asyncio.Event()
        for topic in topics:
            self._listeners[topic].add(listener)
        try:
            yield listener
        finally:
            for topic in topics:
                self._listeners[topic].discard(listener)
                if not self._listeners[topic]:
                    del self._listeners[topic]


async def _wait(news: asyncio.Event, timeout: float) -> bool:
    try:
        async with asyncio.timeout(timeout):
            await news.wait()
    except TimeoutError:
        return False
    return True
