"""Transfers: long movements of bytes that the server carries out for a caller, and what becomes of each.

Only what is counted and decided; who moves the bytes is :mod:`modelyard.registry.carrying`. Times are aware datetimes,
but for the meter's, which are seconds of a clock that never jumps.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from modelyard.domain.errors import Refused
from modelyard.domain.registry import Identity, Notes

# So often a transfer is taken up before it is given up.
MAX_ATTEMPTS: Final = 5
# Seconds over which the rate is the average.
WINDOW: Final = 5.0


class TransferKind(StrEnum):
    IMPORT = "import"  # what is at a source becomes a version


class TransferState(StrEnum):
    QUEUED = "queued"  # waits for its turn, or for the next attempt
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """In their order. The bytes that are done are counted anew in each."""

    FETCHING = "fetching"
    SCANNING = "scanning"
    PUSHING = "pushing"
    PUBLISHING = "publishing"  # one transaction; there is nothing to cancel any more


class Bump(StrEnum):
    MAJOR = "major"
    MINOR = "minor"
    PATCH = "patch"


ACTIVE: Final = (TransferState.QUEUED, TransferState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an import is to publish: the number or, with ``bump``, the one after the latest; which ``aliases`` are to
    point there; what the version is and what is said of it (of its content nothing is known yet, and ``identity.trust``
    is what may be in it). ``include`` and ``exclude`` are patterns of paths at the source; no ``include`` means all."""

    identity: Identity
    notes: Notes
    version: str | None = None
    bump: Bump | None = None
    aliases: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferError:
    """Why it failed; of one that is queued again, why the last attempt did."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """``source`` has no secrets in it. ``version`` is known from the beginning, or once it is to be published, and
    ``manifest`` once the bytes are stored. ``done`` of ``total`` bytes (None: nobody knows yet) of the phase move at
    ``rate`` bytes a second; once it has succeeded they are those of the version, and there is no phase. ``site`` is the
    home whose control process carries it out; ``claim`` is what that process has made up when it took it up for the
    ``attempt``-th time: whoever else has an earlier one writes nothing."""

    id: str
    kind: TransferKind
    namespace: str
    model: str
    source: str
    order: Order
    site: str
    actor: str
    created_at: datetime
    updated_at: datetime
    reason: str = ""
    state: TransferState = TransferState.QUEUED
    phase: Phase | None = None
    version: str | None = None
    manifest: str = ""
    done: int = 0
    total: int | None = None
    rate: float = 0.0
    attempt: int = 0
    claim: str = ""
    error: TransferError | None = None
    ended_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        return self.state not in ACTIVE

    @property
    def seconds_left(self) -> float | None:
        """Until the phase is over, at this rate; None where that cannot be told."""
        if self.state is not TransferState.RUNNING or self.total is None or not self.rate:
            return None
        return max(self.total - self.done, 0) / self.rate


# ------------------------------------------------------------------------------------------- what becomes of one


def take_up(transfer: Transfer, claim: str, now: datetime) -> Transfer:
    """Under way, from the beginning (what is there of it already is not moved again) or, if its bytes are stored, with
    their publication. One that was taken up too often before has failed."""
    if transfer.attempt >= MAX_ATTEMPTS:
        last = f" The last error: {transfer.error.message}" if transfer.error else ""
        message = f"It was begun {MAX_ATTEMPTS} times and never came to its end.{last}"
        if transfer.phase is Phase.PUBLISHING and transfer.manifest:
            message = f"{transfer.model}@{transfer.version} may be published already. {message}"
        return fail(transfer, TransferError(code="too_many_attempts", message=message), now)
    phase = Phase.PUBLISHING if transfer.manifest else Phase.FETCHING
    begun = replace(transfer, state=TransferState.RUNNING, attempt=transfer.attempt + 1, claim=claim)
    return enter(begun, phase, now)


def enter(transfer: Transfer, phase: Phase, now: datetime) -> Transfer:
    return replace(transfer, phase=phase, done=0, total=None, rate=0.0, updated_at=now)


def advance(transfer: Transfer, done: int, total: int | None, rate: float, now: datetime) -> Transfer:
    """So far within its phase. It never goes back: what is read twice is counted once."""
    return replace(transfer, done=max(done, transfer.done), total=total, rate=rate, updated_at=now)


def give_back(transfer: Transfer, now: datetime) -> Transfer:
    """To whoever drives the site next: this process ends on purpose, so the attempt does not count."""
    waiting = replace(transfer, state=TransferState.QUEUED, attempt=transfer.attempt - 1, claim="")
    return replace(waiting, rate=0.0, updated_at=now)


def retry(transfer: Transfer, error: TransferError, now: datetime) -> Transfer:
    """What went wrong may pass: queued again, unless that was the last attempt."""
    if transfer.attempt >= MAX_ATTEMPTS:
        return fail(transfer, error, now)
    return replace(transfer, state=TransferState.QUEUED, claim="", rate=0.0, error=error, updated_at=now)


def fail(transfer: Transfer, error: TransferError, now: datetime) -> Transfer:
    return _over(replace(transfer, state=TransferState.FAILED, error=error), now)


def succeed(transfer: Transfer, now: datetime, size: int) -> Transfer:
    """``size`` bytes have become a version."""
    return _over(
        replace(transfer, state=TransferState.SUCCEEDED, phase=None, done=size, total=size, error=None), now
    )  # fmt: skip


def cancel(transfer: Transfer, actor: str, now: datetime) -> Transfer:
    """One that is cancelled already stays as it is.

    Raises:
        Refused: ``transfer_over``: it has succeeded or failed; ``publishing``: it is as good as done
    """
    if transfer.state is TransferState.CANCELLED:
        return transfer
    if transfer.is_over:
        raise Refused("transfer_over", f"The transfer {transfer.id} has {transfer.state} already.")
    # One that waits for its next attempt may have published in the last one, and not been told.
    if transfer.phase is Phase.PUBLISHING and (transfer.manifest or transfer.state is TransferState.RUNNING):
        raise Refused(
            "publishing",
            f"{transfer.model}@{transfer.version} is being published, or is already. Wait for the transfer, and delete "
            "the version if it is not to be.",
        )
    error = TransferError(code="cancelled", message=f"Cancelled by {actor}.")
    return _over(replace(transfer, state=TransferState.CANCELLED, error=error), now)


def _over(transfer: Transfer, now: datetime) -> Transfer:
    return replace(transfer, claim="", rate=0.0, updated_at=now, ended_at=now)


# ------------------------------------------------------------------------------------------- whose turn it is


def next_up(waiting: Iterable[Transfer], running: Iterable[Transfer], began: Mapping[str, float]) -> Transfer | None:
    """Which of those that wait is begun when there is room for one. Namespaces take turns: the one of which the fewest
    are under way, then the one whose last one ``began`` the longest ago, and of its transfers the oldest."""
    busy = Counter(transfer.namespace for transfer in running)

    def turn(transfer: Transfer) -> tuple[int, float, datetime, str]:
        namespace = transfer.namespace
        return busy[namespace], began.get(namespace, float("-inf")), transfer.created_at, transfer.id

    return min(waiting, key=turn, default=None)


# ------------------------------------------------------------------------------------------- how fast it is


class Meter:
    """The rate of something that is counted: its average over the last seconds, so that it neither jumps with every
    piece nor hides for long that nothing moves."""

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, at: float, done: int) -> float:
        """The rate in bytes a second, now that ``done`` bytes are done ``at`` so many seconds."""
        self._seen.append((at, done))
        # The youngest of those that are too old stays: from it on the window is covered.
        while len(self._seen) > 2 and self._seen[1][0] <= at - self._window:
            self._seen.popleft()
        (began, before), (ended, after) = self._seen[0], self._seen[-1]
        return max(after - before, 0) / (ended - began) if ended > began else 0.0
