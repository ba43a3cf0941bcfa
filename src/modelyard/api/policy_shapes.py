"""Between policies as they are sent and as the rules know them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import time
from typing import Final

from modelyard.api import schemas
from modelyard.control.policies import Explanation
from modelyard.domain import windows as domain
from modelyard.domain.errors import Problem
from modelyard.domain.policies import Caps, Override, Policy, Rules, Selector, policy_problems
from modelyard.domain.schedules import Weekday
from modelyard.domain.verdicts import Ruling, value_in_words

_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")
_END: Final = "24:00"
_ANY: Final = time(0)


def policy_in(name: str, namespace: str, body: schemas.SetPolicy) -> tuple[Policy, list[Problem]]:
    """The policy, and everything wrong with it."""
    found: list[Problem] = []
    sent = body.rules
    shutdown = None
    if sent.shutdown is not None:
        read = [
            _window(window, f"rules.shutdown.windows[{number}]", found)
            for number, window in enumerate(sent.shutdown.windows)
        ]
        shutdown = domain.Shutdown(timezone=sent.shutdown.timezone, windows=tuple(read), resume=sent.shutdown.resume)
    rules = Rules(
        shutdown=shutdown, idle_after=sent.idle_after, max_run_time=sent.max_run_time,
        caps=Caps(gpus=sent.caps.gpus, memory=sent.caps.memory, cpu=sent.caps.cpu),
        require_signature=sent.require_signature,
        allowed_backends=tuple(sent.allowed_backends), protected=sent.protected,
    )  # fmt: skip
    selector = Selector(
        namespaces=tuple(body.selector.namespaces), labels=body.selector.labels, models=tuple(body.selector.models)
    )
    policy = Policy(
        name=name, namespace=namespace, selector=selector, mode=body.mode, rules=rules, description=body.description
    )
    unread = {problem.path.rpartition(".")[0] for problem in found}
    found += [p for p in policy_problems(policy) if p.path.rpartition(".")[0] not in unread]
    return policy, found


def _window(sent: schemas.WeeklyWindow, path: str, found: list[Problem]) -> domain.ShutdownWindow:
    if sent.begins is None and sent.ends is None:
        start = _time(sent.start, f"{path}.start", found) if sent.start is not None else _ANY
        stop = _stop(sent.stop, f"{path}.stop", found) if sent.stop is not None else None
        return domain.ShutdownWindow(days=tuple(sent.days), start=start, stop=stop)
    if sent.days or sent.start is not None or sent.stop is not None:
        found.append(Problem(path, "not_allowed", "Write days, start and stop, or from and to, not both."))
    day, start_text = _moment(sent.begins, f"{path}.from", found)
    until, stop_text = _moment(sent.ends, f"{path}.to", found)
    return domain.ShutdownWindow(
        days=(day,), start=_time(start_text, f"{path}.from", found), stop=_stop(stop_text, f"{path}.to", found),
        until=until,
    )  # fmt: skip


def _moment(text: str | None, path: str, found: list[Problem]) -> tuple[Weekday, str]:
    day, _, rest = (text or "").partition(" ")
    if day.lower() not in list(Weekday):
        message = 'A window from one moment of the week to another names both: from "friday 20:00", to "monday 06:00".'
        found.append(Problem(path, "invalid_value", message))
        return Weekday.MONDAY, "00:00"
    return Weekday(day.lower()), rest.strip()


def _time(text: str, path: str, found: list[Problem]) -> time:
    match = _TIME.match(text)
    if match is None:
        found.append(Problem(path, "invalid_value", f"{text!r} is no time of a day: write HH:MM, as 08:00 or 20:00."))
        return _ANY
    return time(int(match[1]), int(match[2]))


def _stop(text: str, path: str, found: list[Problem]) -> time | None:
    return None if text == _END else _time(text, path, found)


def policy_out(policy: Policy) -> schemas.Policy:
    rules, selector = policy.rules, policy.selector
    shutdown = None
    if rules.shutdown is not None:
        shutdown = schemas.ShutdownRule(
            timezone=rules.shutdown.timezone, windows=[_window_out(w) for w in rules.shutdown.windows],
            resume=rules.shutdown.resume,
        )  # fmt: skip
    return schemas.Policy(
        name=policy.name,
        namespace=policy.namespace,
        description=policy.description,
        selector=schemas.PolicySelector(
            namespaces=list(selector.namespaces), labels=dict(selector.labels), models=list(selector.models)
        ),
        mode=policy.mode,
        rules=schemas.PolicyRules(
            shutdown=shutdown, idle_after=rules.idle_after, max_run_time=rules.max_run_time,
            caps=schemas.PolicyCaps(gpus=rules.caps.gpus, memory=rules.caps.memory, cpu=rules.caps.cpu),
            require_signature=rules.require_signature, allowed_backends=list(rules.allowed_backends),
            protected=rules.protected,
        ),
        version=policy.version,
        created_at=policy.created_at,
        changed_at=policy.changed_at,
        changed_by=policy.changed_by,
    )  # fmt: skip


def _window_out(window: domain.ShutdownWindow) -> schemas.WeeklyWindow:
    stop = _END if window.stop is None else f"{window.stop:%H:%M}"
    if window.until is not None and len(window.days) == 1:
        return schemas.WeeklyWindow(begins=f"{window.days[0]} {window.start:%H:%M}", ends=f"{window.until} {stop}")
    if window.start == _ANY and window.stop is None:
        return schemas.WeeklyWindow(days=list(window.days))
    return schemas.WeeklyWindow(days=list(window.days), start=f"{window.start:%H:%M}", stop=stop)


def override_out(override: Override) -> schemas.PolicyOverride:
    return schemas.PolicyOverride(
        policy=override.policy,
        namespace=override.scope,
        reason=override.reason,
        by=override.by,
        created_at=override.created_at,
        expires_at=override.expires_at,
    )


def explanation_out(found: Explanation, rulings: Sequence[Ruling] | None = None) -> schemas.ModelPolicies:
    """``rulings``: those to show, if not all."""
    shown = found.verdict.rulings if rulings is None else rulings
    policies = {ruling.policy.key for ruling in shown}
    findings = [(f, True) for f in found.findings.refused] + [(f, False) for f in found.findings.warned]
    return schemas.ModelPolicies(
        namespace=found.model.namespace,
        name=found.model.name,
        rulings=[_ruling_out(ruling) for ruling in shown],
        findings=[
            schemas.PolicyFinding(policy=f.policy.name, rule=f.rule, refused=refused, path=f.path, message=f.message)
            for f, refused in findings
            if f.policy.key in policies
        ],
        closed_until=found.closed_until,
        stops_at=found.stops_at,
        stops_because=None if found.next_stop is None else found.next_stop.reason,
    )


def _ruling_out(ruling: Ruling) -> schemas.PolicyRuling:
    policy = ruling.policy
    return schemas.PolicyRuling(
        rule=ruling.rule,
        policy=policy.name,
        namespace=policy.namespace,
        mode=policy.mode,
        value=value_in_words(policy, ruling.rule),
        standing=ruling.standing,
        why=ruling.why,
        override=None if ruling.override is None else override_out(ruling.override),
    )
