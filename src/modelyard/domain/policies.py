"""Policies: rules over many models, for whom they are, and the exceptions from them.

A policy of the whole installation (``namespace`` empty) may select models of any namespace; one of a namespace its own
models, and it can only be stricter than those of the installation. What several of them come to for one model is
worked out in :mod:`modelyard.domain.verdicts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.model import Model
from modelyard.domain.names import is_label_key, name_problem
from modelyard.domain.spec import BackendName
from modelyard.domain.windows import Shutdown, shutdown_problems

# The namespace of a policy of the whole installation.
INSTALLATION: Final = ""
# An exception that lasts longer is a change of the policy.
MAX_OVERRIDE: Final = timedelta(days=90)
# Shorter ones would stop models between two requests, or before they are ready (seconds).
MIN_IDLE: Final = 60.0
MIN_RUN_TIME: Final = 60.0
# Every duration stays a date that exists (seconds).
_MAX_DURATION: Final = 366 * 86_400.0
# So long before a model has run as long as it may an event says so.
NOTICE: Final = timedelta(minutes=10)


class Mode(StrEnum):
    ENFORCE = "enforce"
    WARN = "warn"  # everything passes, and an event and the answer say what would not have


class Rule(StrEnum):
    """What a policy may demand."""

    SHUTDOWN = "shutdown"
    IDLE_AFTER = "idle_after"
    MAX_RUN_TIME = "max_run_time"
    GPUS = "caps.gpus"
    MEMORY = "caps.memory"
    CPU = "caps.cpu"
    SIGNATURE = "require_signature"
    BACKENDS = "allowed_backends"
    PROTECTED = "protected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What all instances of one model may hold together at most: whole devices, bytes, cores. None: any."""

    gpus: int | None = None
    memory: int | None = None
    cpu: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for the selected models; what is None, False or empty demands nothing. ``idle_after`` and
    ``max_run_time`` in seconds."""

    shutdown: Shutdown | None = None
    idle_after: float | None = None
    max_run_time: float | None = None
    caps: Caps = Caps()
    require_signature: bool = False
    allowed_backends: tuple[BackendName, ...] = ()
    protected: bool = False

    @property
    def named(self) -> tuple[Rule, ...]:
        """Those that demand something."""
        there = {
            Rule.SHUTDOWN: self.shutdown is not None,
            Rule.IDLE_AFTER: self.idle_after is not None,
            Rule.MAX_RUN_TIME: self.max_run_time is not None,
            Rule.GPUS: self.caps.gpus is not None,
            Rule.MEMORY: self.caps.memory is not None,
            Rule.CPU: self.caps.cpu is not None,
            Rule.SIGNATURE: self.require_signature,
            Rule.BACKENDS: bool(self.allowed_backends),
            Rule.PROTECTED: self.protected,
        }
        return tuple(rule for rule, is_there in there.items() if is_there)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model, for those who need no more of it than what policies select by. ``uid`` is empty for one that is yet to
    be made."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Models in a namespace and of a name that match one of these patterns each (as in shells; none: all), with all of
    ``labels``."""

    namespaces: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()

    def selects(self, subject: Subject) -> bool:
        return (
            _matches(subject.namespace, self.namespaces)
            and _matches(subject.name, self.models)
            and all(subject.labels.get(key) == value for key, value in self.labels.items())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``version`` grows with every change (the ETag); ``changed_at`` and ``changed_by`` are of the last one."""

    name: str
    namespace: str = INSTALLATION
    selector: Selector = Selector()
    mode: Mode = Mode.ENFORCE
    rules: Rules = Rules()
    description: str = ""
    version: int = 0
    created_at: datetime | None = None
    changed_at: datetime | None = None
    changed_by: str = ""

    @property
    def actor(self) -> str:
        """Who does what it does by itself."""
        return f"policy:{self.name}"

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name

    @property
    def scope(self) -> str:
        """Whose it is, in words."""
        return f"namespace {self.namespace}" if self.namespace else "the installation"

    def selects(self, subject: Subject) -> bool:
        return self.namespace in (INSTALLATION, subject.namespace) and self.selector.selects(subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """An exception: until ``expires_at`` the policy of that ``scope`` (its namespace) does not hold for the model."""

    policy: str
    scope: str
    model_uid: str
    reason: str
    by: str
    created_at: datetime
    expires_at: datetime

    @property
    def key(self) -> tuple[str, str]:
        """Of the policy."""
        return self.scope, self.policy

    def holds(self, now: datetime) -> bool:
        return now < self.expires_at


class MarkKind(StrEnum):
    """What is remembered of a model and a policy. ``at`` of the mark tells one occasion from the next."""

    STOPPED = "stopped"  # its window has stopped the model, and is to start it again
    WARNED_OF_SHUTDOWN = "warned_of_shutdown"
    WARNED_OF_IDLING = "warned_of_idling"
    WARNED_OF_RUN_TIME = "warned_of_run_time"
    NOTICE_OF_RUN_TIME = "notice_of_run_time"
    OVER_CAP = "over_cap"
    NOT_RESUMED = "not_resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """That something was done once: a further event for the same occasion is not written."""

    model_uid: str
    scope: str
    policy: str
    kind: MarkKind
    at: datetime


def subject_of(model: Model) -> Subject:
    return Subject(uid=model.uid, namespace=model.namespace, name=model.name, labels=model.spec.labels)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


# ------------------------------------------------------------------------------------------- what is wrong


def policy_problems(policy: Policy) -> list[Problem]:
    """Everything wrong with it, at paths relative to it."""
    return list(_problems(policy))


def _problems(policy: Policy) -> Iterator[Problem]:
    if problem := name_problem("name", policy.name):
        yield problem
    yield from _selector_problems(policy)
    rules = policy.rules
    if not rules.named:
        yield Problem("rules", "required", "Name one rule at least: this policy would demand nothing.")
    if rules.shutdown is not None:
        yield from shutdown_problems(rules.shutdown, "rules.shutdown")
    for name, value, least in (("idle_after", rules.idle_after, MIN_IDLE), ("max_run_time", rules.max_run_time,
                                                                            MIN_RUN_TIME)):  # fmt: skip
        if value is not None and not least <= value <= _MAX_DURATION:
            yield Problem(f"rules.{name}", "out_of_range", f"{name} is from {least:.0f}s to 366d.")
    for name in ("gpus", "memory", "cpu"):
        cap = getattr(rules.caps, name)
        if cap is not None and cap < 0:
            yield Problem(f"rules.caps.{name}", "out_of_range", "A cap is 0 or more.")
    if len(set(rules.allowed_backends)) != len(rules.allowed_backends):
        yield Problem("rules.allowed_backends", "duplicate", "Each backend is named once.")


def _selector_problems(policy: Policy) -> Iterator[Problem]:
    selector = policy.selector
    if policy.namespace and selector.namespaces:
        message = "A policy of a namespace is for its own models: leave selector.namespaces out."
        yield Problem("selector.namespaces", "not_allowed", message)
    for name in ("namespaces", "models"):
        for number, pattern in enumerate(getattr(selector, name)):
            if not pattern:
                yield Problem(f"selector.{name}[{number}]", "required", "A pattern is not empty: * is any.")
    for key in selector.labels:
        if not is_label_key(key):
            yield Problem(f"selector.labels.{key}", "invalid_name", f"{key!r} is not a label's key.")


def check_override(override: Override) -> None:
    """Raises InvalidRequest."""
    found = []
    if not override.reason.strip():
        found.append(Problem("reason", "required", "Say why: an override is recorded with its reason."))
    lasts = override.expires_at - override.created_at
    if lasts <= timedelta(0):
        found.append(Problem("expires", "out_of_range", "An override expires in the future."))
    elif lasts > MAX_OVERRIDE:
        message = f"An override lasts {MAX_OVERRIDE.days} days at most: for longer change the policy."
        found.append(Problem("expires", "out_of_range", message))
    if found:
        raise InvalidRequest(found)
