"""What is asked of each model, counted for the control process, which scales models and wakes them by it.

Counting is on the way of every request, so it only notes which models have changed; who asks is told of
those alone, and nothing is done while nobody asks or nothing changes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import islice
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol
from uuid import uuid4

# Seconds between two reports, and from a report to one that a request has begun to wait: many models woken
# at once share one.
_INTERVAL: Final = 0.5
_AT_ONCE: Final = 0.02
# Rounds of changes that are remembered: whoever has missed more is told everything.
_REMEMBERED: Final = 8


class Readable(Protocol):
    """Counts that are told as they are."""

    def read(self) -> dict[str, Any]: ...


class Answered(Readable, Protocol):
    """Counts of answers; without ``codes`` there were none."""

    codes: dict[int, int]


class Meter:
    """Counts of one model. ``requests`` went to an instance, ``in_flight`` of them are there now,
    ``waiting`` are held until there is one."""

    __slots__ = (
        "_busy", "_changed_at", "_loads", "arms", "by_instance", "in_flight", "requests", "round", "stats", "uid",
        "waiting",
    )  # fmt: skip

    def __init__(self, loads: Loads, uid: str) -> None:
        self.uid = uid
        self.requests = 0
        self.in_flight = 0
        self.waiting = 0
        # What else is told of the model, if there is anything.
        self.arms: Mapping[Any, Readable] = {}
        # How its requests were answered, where that is counted.
        self.stats: Answered | None = None
        # Requests in flight by instance id, if somebody knows.
        self.by_instance: Callable[[], Iterable[tuple[str, int]]] | None = None
        # The last one of Loads' rounds in which something of this has changed.
        self.round = 0
        self._loads = loads
        # Seconds of all requests together up to when ``in_flight`` changed last.
        self._busy = 0.0
        self._changed_at = monotonic()

    def begin(self, *, again: bool) -> None:
        """A request goes to an instance; ``again``: after another instance could not be reached."""
        now = monotonic()
        self._busy += self.in_flight * (now - self._changed_at)
        self._changed_at = now
        self.in_flight += 1
        if not again:
            self.requests += 1
        if self.round != self._loads.round:
            self._loads.note(self)

    def end(self) -> None:
        """A request has left its instance."""
        now = monotonic()
        self._busy += self.in_flight * (now - self._changed_at)
        self._changed_at = now
        self.in_flight -= 1
        if self.round != self._loads.round:
            self._loads.note(self)

    def changed(self) -> None:
        """Something was counted of its arms, or a request was refused."""
        self._loads.note(self)

    def wait(self, waiting: int) -> None:
        """So many requests are held now."""
        begins = waiting > 0 and self.waiting == 0
        self.waiting = waiting
        self._loads.note(self)
        if begins:
            self._loads.hurry()

    def read(self, now: float) -> dict[str, Any]:
        """The counts at ``now`` (time.monotonic), as the control process is told them."""
        since, stats = now - self._changed_at, self.stats
        more: dict[str, Any] = {"arms": [arm.read() for arm in self.arms.values()]} if self.arms else {}
        if stats is not None and stats.codes:
            more["answered"] = stats.read()
        if self.in_flight and self.by_instance is not None:
            more["instances"] = {name: count for name, count in self.by_instance() if count}
        return {
            "uid": self.uid,
            "requests": self.requests,
            "busy": self._busy + self.in_flight * since,
            "in_flight": self.in_flight,
            "waiting": self.waiting,
            "quiet": 0.0 if self.in_flight else since,
            **more,
        }


Tell = Callable[[dict[str, Any]], None]


class _Poll(NamedTuple):
    """One who waits for changes after round ``since``; None: for everything."""

    since: int | None
    tell: Tell


class Loads:
    """All meters, and who waits for news of them.

    Changes are kept by rounds; each report ends one, and its number is what the next poll asks from.
    ``gateway`` names this process: counts begin anew with each.
    """

    def __init__(self) -> None:
        self.gateway = uuid4().hex
        self.round = 1
        self._meters: dict[str, Meter] = {}
        self._changed: list[Meter] = []
        self._earlier: deque[list[Meter]] = deque(maxlen=_REMEMBERED)
        self._hurried = 0  # the last round in which a request began to wait
        self._polls: dict[tuple[Hashable, int], _Poll] = {}
        self._told_at = -_INTERVAL
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the timer goes off

    def add(self, uid: str) -> Meter:
        """A new model, whose counts begin now."""
        meter = self._meters[uid] = Meter(self, uid)
        self.note(meter)
        return meter

    def remove(self, meter: Meter) -> None:
        if self._meters.get(meter.uid) is meter:
            del self._meters[meter.uid]

    # ---------------------------------------------------------------- changes

    def note(self, meter: Meter) -> None:
        """Something of ``meter`` has changed."""
        if meter.round != self.round:
            meter.round = self.round
            self._changed.append(meter)
            if self._polls and self._timer is None:
                self._report_in(_INTERVAL)

    def hurry(self) -> None:
        """A request has begun to wait: the control process must know now."""
        self._hurried = self.round
        if self._polls:
            self._report_in(_AT_ONCE)

    # ---------------------------------------------------------------- reports

    def poll(self, key: tuple[Hashable, int], gateway: str, since: int, tell: Tell) -> None:
        """Call ``tell`` once with what has changed after round ``since`` of ``gateway`` as soon as there is
        something; with everything, at once, where that is not known. ``key`` says who asks, and which of
        their polls this is, for :meth:`drop`."""
        known = gateway == self.gateway and self.round - len(self._earlier) - 1 <= since < self.round
        poll = self._polls[key] = _Poll(since if known and since > 0 else None, tell)
        if poll.since is None or poll.since < self._hurried:
            self._report_in(_AT_ONCE)
        elif self._timer is None and any(self._changes(poll.since)):
            self._report_in(_INTERVAL)

    def drop(self, who: Hashable, number: int | None = None) -> None:
        """Forget this poll, or all that ``who`` has."""
        self._polls = {
            key: poll for key, poll in self._polls.items() if key[0] is not who or number not in (None, key[1])
        }

    def _report_in(self, interval: float) -> None:
        """Report once ``interval`` has passed since the last report, or sooner if that was to be anyway."""
        now = monotonic()
        due = max(now, self._told_at + interval)
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = asyncio.get_running_loop().call_later(due - now, self._report)

    def _report(self) -> None:
        self._timer = None
        if not self._polls:
            return
        now = self._told_at = monotonic()
        ended = self._end_round()
        polls, self._polls = self._polls, {}
        for key, poll in polls.items():
            changed = self._meters.values() if poll.since is None else self._found(poll.since)
            if changed or poll.since is None:
                models = [meter.read(now) for meter in changed]
                poll.tell({"gateway": self.gateway, "at": now, "since": ended, "models": models})
            else:
                self._polls[key] = poll

    def _end_round(self) -> int:
        """Begin a new round; the number of the one before. What is in flight changes in the new one, too."""
        ended, changed = self.round, self._changed
        self._earlier.append(changed)
        self.round += 1
        self._changed = []
        for meter in changed:
            if meter.in_flight:
                self.note(meter)
        return ended

    def _changes(self, since: int) -> Iterable[list[Meter]]:
        """What changed, round by round, after ``since``."""
        rounds = self.round - 1 - since
        yield from islice(self._earlier, max(0, len(self._earlier) - rounds), None)
        yield self._changed

    def _found(self, since: int) -> list[Meter]:
        """Each model once that changed after ``since`` and is still there."""
        found = dict.fromkeys(meter for changed in self._changes(since) for meter in changed)
        return [meter for meter in found if self._meters.get(meter.uid) is meter]
