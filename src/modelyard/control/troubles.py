"""What rules are to know of models: statuses, events and the gateway's counts, made into facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from modelyard.control.answers import AnswerBook
from modelyard.domain.alerts import KINDS, Alert, AlertKind, AlertRule, Fact, Subject
from modelyard.domain.latency import quantile
from modelyard.domain.model import Event, Model
from modelyard.domain.quantities import rounded_bytes
from modelyard.domain.states import RunState, State

# Events that are trouble, and those after which it is over at once.
TROUBLE: Final[Mapping[str, AlertKind]] = {
    "ScheduleFailed": AlertKind.SCHEDULE_FAILED,
    "PolicyAction": AlertKind.POLICY_ACTION,
    "PolicyWarning": AlertKind.POLICY_ACTION,
}
MENDED: Final[Mapping[str, AlertKind]] = {
    "ScheduleRecovered": AlertKind.SCHEDULE_FAILED,
    "ScheduleSaved": AlertKind.SCHEDULE_FAILED,
    "ScheduleEnabled": AlertKind.SCHEDULE_FAILED,
    "ScheduleDisabled": AlertKind.SCHEDULE_FAILED,
    "ScheduleRemoved": AlertKind.SCHEDULE_FAILED,
}
# Kinds whose numbers change without anything's being told: they are looked at from time to time.
LOOKED_AT: Final = frozenset({AlertKind.ERROR_RATE, AlertKind.LATENCY, AlertKind.MEMORY, AlertKind.QUEUE_TIME})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What of a model's spec and status rules are about."""

    subject: Subject
    version: int
    runs: bool
    in_error: bool
    failures: int
    failure: str
    rolled_back: str
    waiting_since: datetime | None
    waiting_for: str
    memory: int | None
    instances: tuple[str, ...]


def seen(model: Model) -> Seen:
    status = model.status
    queued = status.state is State.QUEUED and status.waiting is not None
    return Seen(
        subject=Subject(uid=model.uid, namespace=model.namespace, name=model.name, labels=dict(model.spec.labels)),
        version=model.version,
        runs=model.desired is RunState.RUNNING,
        in_error=status.state is State.ERROR,
        failures=status.failures,
        failure=status.failure.message if status.failure is not None else "",
        rolled_back=status.rolled_back.failure.message if status.rolled_back is not None else "",
        waiting_since=status.waiting.since if queued and status.waiting is not None else None,
        waiting_for=status.waiting.message if queued and status.waiting is not None else "",
        memory=model.target_spec.resources.memory,
        instances=tuple(instance.id for instance in status.instances),
    )


class Happenings:
    """Events that are trouble, by model and kind, with their ids: adding one twice is adding it once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, AlertKind], dict[int, tuple[datetime, str]]] = {}

    def recall(self, alert: Alert) -> None:
        """What an alert that was firing before this process began is made of."""
        if KINDS[alert.kind].happens:
            # Ids below nought are none of the store's.
            many = {-n: (alert.bad_at, alert.message) for n in range(1, int(alert.threshold) + 1)}
            self._found[alert.model_uid, alert.kind] = many

    def add(self, event: Event) -> bool:
        """Whether it is one that rules are about."""
        if (kind := TROUBLE.get(event.type)) is not None:
            self._found.setdefault((event.model_uid, kind), {})[event.id] = (event.at, event.message)
            return True
        if (kind := MENDED.get(event.type)) is not None:
            return self._found.pop((event.model_uid, kind), None) is not None
        return False

    def within(self, uid: str, kind: AlertKind, window: float, now: datetime) -> tuple[int, str]:
        """How many there were in the last ``window`` seconds, and what the last one said."""
        since = now - timedelta(seconds=window)
        fresh = [told for told in self._found.get((uid, kind), {}).values() if told[0] > since]
        return len(fresh), max(fresh, default=(now, ""), key=lambda told: told[0])[1]

    def forget(self, uids: Iterable[str], before: datetime) -> None:
        """All but what happened to these models, and what is older."""
        known = set(uids)
        kept = {
            key: {number: told for number, told in found.items() if told[0] >= before}
            for key, found in self._found.items()
            if key[0] in known
        }
        self._found = {key: found for key, found in kept.items() if found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known beside statuses: ``usage`` is resident bytes by instance."""

    answers: AnswerBook
    happenings: Happenings
    usage: Mapping[str, int]
    now: datetime


def facts(models: Iterable[Seen], rules: Sequence[AlertRule], known: Known) -> Iterator[Fact]:
    for model in models:
        for rule in rules:
            if rule.means(model.subject):
                value, message = _value(rule, model, known)
                yield Fact(uid=model.subject.uid, rule=rule.key, value=value, message=message)


def _value(rule: AlertRule, model: Seen, known: Known) -> tuple[float | None, str]:
    if KINDS[rule.kind].happens:
        return known.happenings.within(model.subject.uid, rule.kind, rule.window, known.now)
    if not model.runs:
        return 0.0, ""
    match rule.kind:
        case AlertKind.START_FAILED:
            message = model.failure if model.in_error else model.rolled_back
            return float(model.in_error or bool(model.rolled_back)), message
        case AlertKind.CRASH_LOOP:
            return float(model.failures), f"Failed {model.failures} times in a row: {model.failure}"
        case AlertKind.QUEUE_TIME:
            if model.waiting_since is None:
                return 0.0, ""
            waited = max((known.now - model.waiting_since).total_seconds(), 0.0)
            return waited, f"It has waited for {waited:.0f} s: {model.waiting_for}"
        case AlertKind.MEMORY:
            return _memory(model, known.usage)
        case _:
            return _measured(rule, model, known.answers)


def _memory(model: Seen, usage: Mapping[str, int]) -> tuple[float | None, str]:
    if model.memory is None:
        return 0.0, ""
    most = max((usage.get(instance, 0) for instance in model.instances), default=0)
    share = most / model.memory
    return share, f"An instance uses {rounded_bytes(most)} of {rounded_bytes(model.memory)} ({share:.0%})."


def _measured(rule: AlertRule, model: Seen, book: AnswerBook) -> tuple[float | None, str]:
    """Too little to judge by is no trouble once all of the window is known; before, nobody knows."""
    found, whole = book.within(model.subject.uid, rule.window)
    nothing = (0.0, "") if whole else (None, "")
    if rule.kind is AlertKind.ERROR_RATE:
        if found.answers < rule.least:
            return nothing
        rate = found.errors / found.answers
        return rate, f"{found.errors} of {found.answers} answers in {rule.window:.0f} s were errors ({rate:.1%})."
    if sum(found.buckets) < rule.least:
        return nothing
    seconds = quantile(found.buckets, rule.quantile)
    return seconds, f"{rule.quantile:.0%} of the answers in {rule.window:.0f} s took up to {seconds or 0:.3g} s."
