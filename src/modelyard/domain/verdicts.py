"""What the policies come to for one model: which of their rules hold, which yield to what, and why.

The order of the policies makes no difference. A live override takes a policy out first. Of what is left:

- ``protected`` keeps windows, idle time and run time from stopping the model: those of policies that are not of a wider
  scope than the protecting one (a namespace cannot protect from the installation). It never allows what was refused: a
  start within a window still is.
- Of limits the strictest one holds; a warning that says no more than what is enforced yields to it.
- Windows, signatures and backends add up: each policy that enforces one holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from modelyard.domain.policies import INSTALLATION, Mode, Override, Policy, Rule, Subject
from modelyard.domain.quantities import duration_in_words, format_bytes
from modelyard.domain.windows import in_words

_LIMITS: Final = (Rule.IDLE_AFTER, Rule.MAX_RUN_TIME, Rule.GPUS, Rule.MEMORY, Rule.CPU)
# Those by which a policy stops what runs.
STOPPING: Final = (Rule.SHUTDOWN, Rule.IDLE_AFTER, Rule.MAX_RUN_TIME)


class Standing(StrEnum):
    """What has become of a policy's rule for one model."""

    IN_FORCE = "in_force"
    WARNS = "warns"
    YIELDS = "yields"  # another policy asks for as much or more
    SHIELDED = "shielded"  # it stops nothing: the model is protected
    OVERRIDDEN = "overridden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """``why`` says for every standing but ``in_force`` and ``warns`` what has brought it about."""

    policy: Policy
    rule: Rule
    standing: Standing
    why: str = ""
    override: Override | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All rulings for ``subject``, by rule and policy."""

    subject: Subject
    rulings: tuple[Ruling, ...] = ()

    def having(self, rule: Rule, *standings: Standing) -> tuple[Policy, ...]:
        """The policies whose ``rule`` stands so."""
        return tuple(r.policy for r in self.rulings if r.rule is rule and r.standing in standings)

    def holding(self, rule: Rule) -> tuple[Policy, ...]:
        return self.having(rule, Standing.IN_FORCE)

    def warning(self, rule: Rule) -> tuple[Policy, ...]:
        return self.having(rule, Standing.WARNS)

    @property
    def is_protected(self) -> bool:
        return bool(self.holding(Rule.PROTECTED))


def decide(subject: Subject, policies: Iterable[Policy], overrides: Iterable[Override], now: datetime) -> Verdict:
    """``overrides``: those of the model, or more."""
    live = {o.key: o for o in overrides if subject.uid and o.model_uid == subject.uid and o.holds(now)}
    chosen = sorted((p for p in policies if p.selects(subject)), key=lambda p: p.key)
    rulings = []
    open_: dict[Rule, list[Policy]] = {rule: [] for rule in Rule}
    for policy in chosen:
        override = live.get(policy.key)
        for rule in policy.rules.named:
            if override is None:
                open_[rule].append(policy)
            else:
                why = f"until {override.expires_at:%Y-%m-%d %H:%M} UTC by {override.by}: {override.reason}"
                rulings.append(
                    Ruling(policy=policy, rule=rule, standing=Standing.OVERRIDDEN, why=why, override=override)
                )
    shields = [p for p in open_[Rule.PROTECTED] if p.mode is Mode.ENFORCE]
    for rule, found in open_.items():
        rest = found
        if rule in STOPPING:
            shielded = [(p, s) for p in found if (s := _shield(p, shields)) is not None]
            rulings += [_ruling(p, rule, Standing.SHIELDED, f"protected by policy {s.name}") for p, s in shielded]
            taken = {p.key for p, _ in shielded}
            rest = [p for p in found if p.key not in taken]
        rulings += _resolve(rule, rest)
    order = list(Rule)
    rulings.sort(key=lambda r: (order.index(r.rule), r.policy.key))
    return Verdict(subject=subject, rulings=tuple(rulings))


def _shield(policy: Policy, shields: Sequence[Policy]) -> Policy | None:
    """The one that keeps ``policy`` from stopping the model."""
    return next((s for s in shields if s.namespace == INSTALLATION or policy.namespace != INSTALLATION), None)


def _resolve(rule: Rule, policies: Sequence[Policy]) -> list[Ruling]:
    enforced = [p for p in policies if p.mode is Mode.ENFORCE]
    warned = [p for p in policies if p.mode is Mode.WARN]
    if rule in _LIMITS:
        return _limits(rule, enforced, warned)
    if rule is Rule.BACKENDS:
        return _backends(enforced, warned)
    found = [_ruling(p, rule, Standing.IN_FORCE) for p in enforced]
    if rule in (Rule.SIGNATURE, Rule.PROTECTED) and enforced:
        why = f"policy {enforced[0].name} enforces it"
        return found + [_ruling(p, rule, Standing.YIELDS, why) for p in warned]
    return found + [_ruling(p, rule, Standing.WARNS) for p in warned]


def _limits(rule: Rule, enforced: Sequence[Policy], warned: Sequence[Policy]) -> list[Ruling]:
    def rank(policy: Policy) -> tuple[float, tuple[str, str]]:
        return limit(policy, rule), policy.key

    found = []
    strictest: Policy | None = None
    for standing, policies in ((Standing.IN_FORCE, enforced), (Standing.WARNS, warned)):
        for policy in sorted(policies, key=rank):
            if strictest is not None and limit(strictest, rule) <= limit(policy, rule):
                why = f"policy {strictest.name} is as strict or stricter ({value_in_words(strictest, rule)})"
                found.append(_ruling(policy, rule, Standing.YIELDS, why))
            else:
                found.append(_ruling(policy, rule, standing))
                strictest = policy
    return found


def _backends(enforced: Sequence[Policy], warned: Sequence[Policy]) -> list[Ruling]:
    allowed = frozenset.intersection(*(frozenset(p.rules.allowed_backends) for p in enforced)) if enforced else None
    clash = ""
    if allowed is not None and not allowed:
        clash = f"conflict: {', '.join(p.name for p in enforced)} allow no backend together"
    found = [_ruling(p, Rule.BACKENDS, Standing.IN_FORCE, clash) for p in enforced]
    for policy in warned:
        if allowed is not None and allowed <= frozenset(policy.rules.allowed_backends):
            why = f"policy {enforced[0].name} enforces as much or more"
            found.append(_ruling(policy, Rule.BACKENDS, Standing.YIELDS, why))
        else:
            found.append(_ruling(policy, Rule.BACKENDS, Standing.WARNS))
    return found


def _ruling(policy: Policy, rule: Rule, standing: Standing, why: str = "") -> Ruling:
    return Ruling(policy=policy, rule=rule, standing=standing, why=why)


# ------------------------------------------------------------------------------------------- values


def limit(policy: Policy, rule: Rule) -> float:
    """The value of one of its limits, which it has."""
    rules = policy.rules
    value = {
        Rule.IDLE_AFTER: rules.idle_after,
        Rule.MAX_RUN_TIME: rules.max_run_time,
        Rule.GPUS: rules.caps.gpus,
        Rule.MEMORY: rules.caps.memory,
        Rule.CPU: rules.caps.cpu,
    }[rule]
    assert value is not None
    return float(value)


def value_in_words(policy: Policy, rule: Rule) -> str:
    """What the policy says of ``rule``, which it names."""
    rules = policy.rules
    shutdown, caps = rules.shutdown, rules.caps
    shown: dict[Rule, Callable[[], str]] = {
        Rule.SHUTDOWN: lambda: (
            f"{'; '.join(in_words(w) for w in shutdown.windows)} {shutdown.timezone}" if shutdown else ""
        ),
        Rule.IDLE_AFTER: lambda: duration_in_words(rules.idle_after or 0.0),
        Rule.MAX_RUN_TIME: lambda: duration_in_words(rules.max_run_time or 0.0),
        Rule.GPUS: lambda: str(caps.gpus),
        Rule.MEMORY: lambda: format_bytes(caps.memory or 0),
        Rule.CPU: lambda: f"{caps.cpu:g}",
        Rule.SIGNATURE: lambda: "signed versions only",
        Rule.BACKENDS: lambda: ", ".join(sorted(rules.allowed_backends)),
        Rule.PROTECTED: lambda: "not stopped, deleted or preempted",
    }
    return shown[rule]()


def with_policy(policies: Iterable[Policy], policy: Policy) -> list[Policy]:
    """``policies`` as they would be with ``policy``, new or in the place of the one of its name."""
    return [*(p for p in policies if p.key != policy.key), policy]
