"""Alerts: what is watched for, and when it fires and is over. What is told to whom is in
:mod:`modelyard.domain.webhooks`.

A rule looks at one kind of trouble. What is known of each model is given to it as facts, which are numbers; the worse,
the larger. All of it pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from modelyard.domain.errors import Problem
from modelyard.domain.names import name_problem

# The namespace of rules (and webhooks) that are for the whole installation.
INSTALLATION: Final = ""
MAX_WINDOW: Final = 86_400.0


class AlertKind(StrEnum):
    START_FAILED = "start_failed"  # it is to run and is in error, or its update was taken back
    SCHEDULE_FAILED = "schedule_failed"  # a schedule could not start or stop it
    CRASH_LOOP = "crash_loop"  # launches that failed, in a row
    ERROR_RATE = "error_rate"  # the share of answers that are 5xx
    LATENCY = "latency"  # a quantile of the time until the answer, in seconds
    MEMORY = "memory"  # what its fullest instance uses of its limit, as a share
    QUEUE_TIME = "queue_time"  # seconds for which it has waited for capacity
    POLICY_ACTION = "policy_action"  # a policy has acted on it, or warned


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Kind(NamedTuple):
    """What is said of a kind where a rule says nothing. ``action`` is what whoever is woken by it does first, where
    ``{model}`` stands for the name and namespace as commands take them. ``is_share``: its numbers are from 0 to 1.
    ``happens``: it is told by events, of which ``threshold`` within the window are too many; ``measured``: over the
    window, too."""

    alertname: str
    summary: str
    action: str
    severity: Severity
    threshold: float
    window: float = 0.0
    lasting: float = 0.0
    keep: float = 0.0
    is_share: bool = False
    happens: bool = False
    measured: bool = False


KINDS: Final[Mapping[AlertKind, Kind]] = {
    AlertKind.START_FAILED: Kind(
        "ModelStartFailed", "could not be started",
        "See why: modelyard logs {model}. Once that is mended: modelyard start {model}",
        Severity.CRITICAL, 1,
    ),
    AlertKind.SCHEDULE_FAILED: Kind(
        "ModelScheduleFailed", "was not started or stopped by its schedule",
        "See when it tries again: modelyard schedule status {model}. By hand: modelyard start {model}, or stop",
        Severity.CRITICAL, 1, window=86_400, happens=True,
    ),
    AlertKind.CRASH_LOOP: Kind(
        "ModelCrashLoop", "fails again and again",
        "See its last words: modelyard logs {model}. What ran before: modelyard rollback {model}",
        Severity.CRITICAL, 5,
    ),
    AlertKind.ERROR_RATE: Kind(
        "ModelErrorRateHigh", "answers with errors",
        "See them: modelyard logs {model}. If it was changed lately: modelyard revisions {model}, rollback",
        Severity.WARNING, 0.05, window=300, keep=120, is_share=True, measured=True,
    ),
    AlertKind.LATENCY: Kind(
        "ModelLatencyHigh", "answers slowly",
        "See what it does: modelyard status {model}. More instances: modelyard scale {model}",
        Severity.WARNING, 1.0, window=300, keep=120, measured=True,
    ),
    AlertKind.MEMORY: Kind(
        "ModelMemoryHigh", "is near its limit of memory",
        "See what it holds: modelyard status {model}. For more: modelyard update {model} --set resources.memory=SIZE",
        Severity.WARNING, 0.9, lasting=60, keep=120, is_share=True,
    ),
    AlertKind.QUEUE_TIME: Kind(
        "ModelQueuedLong", "waits for capacity",
        "See for what: modelyard status {model}; and who holds it: modelyard capacity",
        Severity.WARNING, 300,
    ),
    AlertKind.POLICY_ACTION: Kind(
        "ModelPolicyAction", "was acted on by a policy",
        "See which and why: modelyard policy explain {model}",
        Severity.INFO, 1, window=900, happens=True,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """Fire for each model that it means once its number has been ``threshold`` or more for ``lasting`` seconds. It is
    over when the number has been below ``clear`` (None: nine tenths of the threshold for what is measured, the
    threshold for the rest) for ``keep`` seconds. ``window``, ``lasting`` and ``keep`` are seconds; ``least`` answers
    within the window are needed to judge by; ``quantile`` is that of the latency.

    It means the models of its ``namespace`` (INSTALLATION: of all, or of ``namespaces``) that have all ``labels`` and
    whose name matches one of ``names`` (patterns as in shells; none: all)."""

    namespace: str
    name: str
    kind: AlertKind
    severity: Severity
    threshold: float
    clear: float | None = None
    window: float = 0.0
    lasting: float = 0.0
    keep: float = 0.0
    least: int = 20
    quantile: float = 0.95
    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    description: str = ""
    version: int = 0

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def clears_below(self) -> float:
        if self.clear is not None:
            return self.clear
        smooth = KINDS[self.kind].measured or self.kind is AlertKind.MEMORY
        return self.threshold * 0.9 if smooth else self.threshold

    def means(self, subject: Subject) -> bool:
        if not self.enabled:
            return False
        if self.namespace != INSTALLATION and subject.namespace != self.namespace:
            return False
        if self.namespaces and subject.namespace not in self.namespaces:
            return False
        if self.names and not any(fnmatchcase(subject.name, pattern) for pattern in self.names):
            return False
        return all(subject.labels.get(key) == value for key, value in self.labels.items())


def rule_of(kind: AlertKind, name: str, namespace: str = INSTALLATION) -> AlertRule:
    """A rule with all that is usual for its kind."""
    usual = KINDS[kind]
    return AlertRule(
        namespace=namespace, name=name, kind=kind, severity=usual.severity, threshold=usual.threshold,
        window=usual.window, lasting=usual.lasting, keep=usual.keep,
    )  # fmt: skip


# What is watched for without anybody's asking: what is no question of taste. One of the same name takes its place.
BUILT_IN: Final = tuple(
    replace(rule_of(kind, name), description=description)
    for kind, name, description in (
        (AlertKind.START_FAILED, "start-failed", "Models that are to run and cannot be started."),
        (AlertKind.SCHEDULE_FAILED, "schedule-failed", "Schedules that could not start or stop their model."),
        (AlertKind.CRASH_LOOP, "crash-loop", "Models whose instances fail again and again."),
    )
)


def with_built_in(stored: Iterable[AlertRule]) -> list[AlertRule]:
    """Those in force, by namespace and name."""
    found = {rule.key: rule for rule in BUILT_IN} | {rule.key: rule for rule in stored}
    return [found[key] for key in sorted(found)]


def rule_problems(rule: AlertRule) -> list[Problem]:
    """Everything wrong with it."""
    usual, found = KINDS[rule.kind], []
    if (bad := name_problem("name", rule.name)) is not None:
        found.append(bad)

    def refuse(path: str, message: str) -> None:
        found.append(Problem(path, "out_of_range", message))

    if not rule.threshold > 0 or (usual.is_share and rule.threshold > 1):
        refuse("threshold", f"It is above 0{' and at most 1 (a share)' if usual.is_share else ''}.")
    if usual.happens and rule.threshold % 1:
        refuse("threshold", "Events are counted: it is a whole number.")
    if rule.clear is not None and not 0 <= rule.clear <= rule.threshold:
        refuse("clear", "It is from 0 to the threshold.")
    windowed = usual.measured or usual.happens
    if windowed and not 30 <= rule.window <= MAX_WINDOW:
        refuse("window", "It is from 30 seconds to a day.")
    if not windowed and rule.window:
        refuse("window", f"{rule.kind} is what it is now: it has no window.")
    for path, value in (("lasting", rule.lasting), ("keep", rule.keep)):
        if not 0 <= value <= MAX_WINDOW:
            refuse(path, "It is at most a day.")
    if not 1 <= rule.least <= 10**9:
        refuse("least", "It is 1 or more.")
    if not 0 < rule.quantile < 1:
        refuse("quantile", "It is between 0 and 1.")
    if rule.namespaces and rule.namespace != INSTALLATION:
        found.append(Problem("namespaces", "not_allowed", "The rule of a namespace is for that namespace only."))
    return found


# ------------------------------------------------------------------------------------------- what is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The model that a fact is about."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What ``rule`` (its key) is to know of the model ``uid``. ``value`` None: nobody knows just now, so that nothing
    begins and nothing ends. ``message`` says it in words."""

    uid: str
    rule: str
    value: float | None
    message: str = ""


class AlertState(StrEnum):
    PENDING = "pending"  # too much, and not for long enough yet; never stored
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One time that a rule fired for a model. ``id`` is its own; ``fingerprint`` is the same each time. ``bad_at`` is
    when the number was last too high. ``notified``: it was not silenced any more, and those in ``told`` (identities of
    webhooks) were told that it fires, so they must hear of its end."""

    id: str
    fingerprint: str
    rule: str
    kind: AlertKind
    severity: Severity
    namespace: str
    model: str
    model_uid: str
    state: AlertState
    starts_at: datetime
    bad_at: datetime
    ends_at: datetime | None = None
    value: float | None = None
    threshold: float = 0.0
    message: str = ""
    notified: bool = False
    told: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        """What tells it from all others: none of these ever changes, as receivers know it by them."""
        return {
            "alertname": KINDS[self.kind].alertname,
            "kind": str(self.kind),
            "severity": str(self.severity),
            "namespace": self.namespace,
            "model": self.model,
            "rule": self.rule,
            "fingerprint": self.fingerprint,
        }

    @property
    def annotations(self) -> dict[str, str]:
        """What it says to people: what is wrong, why, and what to do first."""
        usual = KINDS[self.kind]
        said = {
            "summary": f"Model {self.namespace}/{self.model} {usual.summary}",
            "description": self.message,
            "action": usual.action.format(model=f"{self.model} -n {self.namespace}"),
        }
        return {name: text for name, text in said.items() if text}


def fingerprint(rule: str, model_uid: str) -> str:
    return hashlib.sha256(f"{rule}\n{model_uid}".encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------------- the evaluator


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``alerts`` are those that are pending or fire now, by fingerprint; ``changes`` what has begun to fire or is
    over, by fingerprint."""

    alerts: Mapping[str, Alert]
    changes: tuple[Alert, ...]


def evaluate(
    rules: Mapping[str, AlertRule],
    subjects: Mapping[str, Subject],
    facts: Iterable[Fact],
    earlier: Mapping[str, Alert],
    now: datetime,
) -> Outcome:
    """What fires now of some models. ``rules`` are all there are, by key. ``subjects`` are those of the models that
    there are, by uid: the alerts of others are over, as are those of rules that mean their model no more. ``earlier``
    is the outcome before, by fingerprint.

    Each fingerprint fires once and then is over once, in turns; the order of facts does not matter."""
    told = {(fact.rule, fact.uid): fact for fact in facts}
    alerts: dict[str, Alert] = {}
    changes: list[Alert] = []
    for print_, alert in earlier.items():
        rule, subject = rules.get(alert.rule), subjects.get(alert.model_uid)
        # Nothing is said of it any more: nought.
        fact = told.pop((alert.rule, alert.model_uid), None) or Fact(uid=alert.model_uid, rule=alert.rule, value=0.0)
        if subject is None or rule is None or rule.kind is not alert.kind or not rule.means(subject):
            after = None
        else:
            after = _go_on(rule, alert, fact, now)
        if after is None:
            _end(alert, now, changes)
            continue
        alerts[print_] = after
        if after.state is not alert.state:
            changes.append(after)
    for fact in told.values():
        rule, subject = rules.get(fact.rule), subjects.get(fact.uid)
        if rule is None or subject is None or fact.value is None or fact.value < rule.threshold:
            continue
        if rule.means(subject):
            begun = _begin(rule, subject, fact, now)
            alerts[begun.fingerprint] = begun
            if begun.state is AlertState.FIRING:
                changes.append(begun)
    changes.sort(key=lambda alert: (alert.fingerprint, alert.id))
    return Outcome(alerts=alerts, changes=tuple(changes))


def _begin(rule: AlertRule, subject: Subject, fact: Fact, now: datetime) -> Alert:
    print_ = fingerprint(rule.key, subject.uid)
    return Alert(
        id=f"{print_}-{int(now.timestamp() * 1000):x}", fingerprint=print_,
        rule=rule.key, kind=rule.kind, severity=rule.severity,
        namespace=subject.namespace, model=subject.name, model_uid=subject.uid,
        state=AlertState.PENDING if rule.lasting else AlertState.FIRING, starts_at=now, bad_at=now, value=fact.value,
        threshold=rule.threshold, message=fact.message,
    )  # fmt: skip


def _go_on(rule: AlertRule, alert: Alert, fact: Fact, now: datetime) -> Alert | None:
    """The alert as it is now; None: it is over."""
    value = fact.value
    if value is None:
        return alert
    if alert.state is AlertState.PENDING:
        if value < rule.threshold:
            return None
        # A clock that was set back must not have it wait longer.
        since = min(alert.starts_at, now)
        alert = replace(alert, starts_at=since, bad_at=now, value=value, message=fact.message)
        fires = now - since >= timedelta(seconds=rule.lasting)
        return replace(alert, state=AlertState.FIRING) if fires else alert
    if value >= rule.clears_below:
        return replace(alert, bad_at=now, value=value, message=fact.message or alert.message)
    bad_at = min(alert.bad_at, now)
    if now - bad_at >= timedelta(seconds=rule.keep):
        return None
    return replace(alert, bad_at=bad_at, value=value)


def _end(alert: Alert, now: datetime, changes: list[Alert]) -> None:
    if alert.state is AlertState.FIRING:
        changes.append(replace(alert, state=AlertState.RESOLVED, ends_at=max(now, alert.starts_at)))
