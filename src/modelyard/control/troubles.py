"""What rules are to know of models: statuses, events and the gateway's counts, made into facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from modelyard.control import carrying
from modelyard.control.answers import AnswerBook
from modelyard.domain import enforcing
from modelyard.domain.alerts import INSTALLATION, KINDS, Alert, AlertKind, AlertRule, Fact, Subject
from modelyard.domain.latency import quantile
from modelyard.domain.model import Event, Model
from modelyard.domain.quantities import rounded_bytes
from modelyard.domain.states import RunState, State

# Events that are trouble, and those after which it is over at once.
TROUBLE: Final[Mapping[str, AlertKind]] = {
    carrying.FAILED: AlertKind.SCHEDULE_FAILED,
    enforcing.ACTION: AlertKind.POLICY_ACTION,
    enforcing.WARNING: AlertKind.POLICY_ACTION,
}
MENDED: Final[Mapping[str, AlertKind]] = {
    carrying.RECOVERED: AlertKind.SCHEDULE_FAILED,
    "ScheduleSaved": AlertKind.SCHEDULE_FAILED,
    "ScheduleEnabled": AlertKind.SCHEDULE_FAILED,
    "ScheduleDisabled": AlertKind.SCHEDULE_FAILED,
    "ScheduleRemoved": AlertKind.SCHEDULE_FAILED,
}
# Kinds whose numbers change without anything's being told: they are looked at from time to time.
LOOKED_AT: Final = frozenset({AlertKind.ERROR_RATE, AlertKind.LATENCY, AlertKind.MEMORY, AlertKind.QUEUE_TIME})
_HAPPEN: Final = tuple(kind for kind, usual in KINDS.items() if usual.happens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What of a model's spec and status rules are about."""

    subject: Subject
    version: int
    runs: bool
    in_error: bool
    begins: bool
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
        begins=status.state in (State.QUEUED, State.STARTING),
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

    def forget(self, uid: str) -> None:
        """A model that is gone."""
        for kind in _HAPPEN:
            self._found.pop((uid, kind), None)

    def forget_before(self, before: datetime) -> None:
        """What is older."""
        kept = {
            key: {number: told for number, told in found.items() if told[0] >= before}
            for key, found in self._found.items()
        }
        self._found = {key: found for key, found in kept.items() if found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known beside statuses: ``usage`` is resident bytes by instance."""

    answers: AnswerBook
    happenings: Happenings
    usage: Mapping[str, int]
    now: datetime


class Rules:
    """Those in force, found by the model's namespace: each model is held against few of them. ``longest`` is the
    longest window that answers are measured over, in seconds (0: none)."""

    def __init__(self, rules: Iterable[AlertRule] = ()) -> None:
        self.by_key = {rule.key: rule for rule in rules}
        enabled = [rule for rule in self.by_key.values() if rule.enabled]
        self.kinds = frozenset(rule.kind for rule in enabled)
        self.longest = max((rule.window for rule in enabled if KINDS[rule.kind].measured), default=0.0)
        self._of: dict[str, list[AlertRule]] = {}
        for rule in enabled:
            self._of.setdefault(rule.namespace, []).append(rule)

    def of(self, namespace: str) -> Iterator[AlertRule]:
        """That may mean models of a namespace."""
        yield from self._of.get(INSTALLATION, ())
        yield from self._of.get(namespace, ())


def facts(models: Iterable[Seen], rules: Rules, known: Known) -> Iterator[Fact]:
    for model in models:
        for rule in rules.of(model.subject.namespace):
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
            if model.begins and not message:
                # It is tried again, and nobody knows yet what comes of it.
                return None, ""
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
