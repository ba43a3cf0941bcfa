"""What a verdict means for a command, and for a model that runs: refusals, warnings, what is due and when.

Commands are held against :func:`launch_findings` (whatever launches) and :func:`ending_findings` (stop and delete);
the loop that stops models asks :func:`due`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from modelyard.domain.capacity import amount_of
from modelyard.domain.errors import Problem, Refused
from modelyard.domain.model import Amount, Model
from modelyard.domain.policies import INSTALLATION, NOTICE, MarkKind, Mode, Policy, Rule, Subject
from modelyard.domain.quantities import duration_in_words, format_bytes
from modelyard.domain.spec import Spec
from modelyard.domain.states import SHUT_DOWN, RunState, State
from modelyard.domain.verdicts import Standing, Verdict, limit
from modelyard.domain.windows import Period, moment_in_words, period

CODE: Final = "policy"
ACTION: Final = "PolicyAction"
WARNING: Final = "PolicyWarning"
OVERRIDDEN: Final = "PolicyOverridden"


class Forbidden(Refused):
    """A policy does not allow this; ``until``: the end of the window, where nothing else speaks against it."""

    def __init__(
        self, message: str, policies: Sequence[str], allowed: Sequence[str] = (), until: datetime | None = None
    ) -> None:
        super().__init__(CODE, message, allowed)
        self.extra = {**self.extra, "policies": list(policies)}
        self.policies, self.until = tuple(policies), until


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What speaks against a command: ``path`` is that of the field in the request that would have to change;
    ``until``: when it no longer will, if that is known."""

    policy: Policy
    rule: Rule
    path: str
    message: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    refused: tuple[Finding, ...] = ()
    warned: tuple[Finding, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(refused=self.refused + other.refused, warned=self.warned + other.warned)

    @property
    def problems(self) -> list[Problem]:
        """The refusals, each at its path."""
        return [Problem(f.path, CODE, f.message) for f in self.refused]

    def check(self, allowed: Sequence[str]) -> None:
        """Raises Forbidden if there is a refusal."""
        if self.refused:
            message = " ".join(dict.fromkeys(f.message for f in self.refused))
            ends = [f.until for f in self.refused if f.until is not None]
            until = max(ends) if len(ends) == len(self.refused) else None
            raise Forbidden(message, list(dict.fromkeys(f.policy.name for f in self.refused)), allowed, until)


# ------------------------------------------------------------------------------------------- commands


def launch_findings(
    verdict: Verdict, spec: Spec, now: datetime, *, begins: bool, before: Spec | None = None
) -> Findings:
    """What speaks against launching ``spec``. ``begins``: the model did not run until now; ``before``: a spec that it
    has already, against which only what gets worse is held. Signatures are for others to check."""
    found = [*_cap_findings(verdict, spec, before), *_backend_findings(verdict, spec)]
    if begins:
        found += _window_findings(verdict, now)
    return _split(verdict, found)


def ending_findings(verdict: Verdict, doing: str) -> Findings:
    """What speaks against a stop or a delete; ``doing`` says which: stopped, deleted."""
    found = []
    for policy in verdict.having(Rule.PROTECTED, Standing.IN_FORCE, Standing.WARNS):
        message = (
            f"Policy {policy.name} of {policy.scope} protects {verdict.subject.name} from being {doing}. "
            f"{_who(policy).capitalize()} may do it with --override and a reason."
        )
        found.append(Finding(policy=policy, rule=Rule.PROTECTED, path="", message=message))
    return _split(verdict, found)


def leaving_findings(verdict: Verdict, after: Subject) -> Findings:
    """What speaks against ``after``, the same model with other labels: enforced policies, not overridden, that would no
    longer be for it."""
    holding = {
        r.policy.key: r
        for r in verdict.rulings
        if r.policy.mode is Mode.ENFORCE and r.standing is not Standing.OVERRIDDEN and not r.policy.selects(after)
    }
    found = []
    for ruling in holding.values():
        policy = ruling.policy
        message = (
            f"Policy {policy.name} of {policy.scope} is for {after.name} by its labels, and would no longer be with "
            f"these: leave them. {_ask(policy, verdict)}"
        )
        found.append(Finding(policy=policy, rule=ruling.rule, path="spec.labels", message=message))
    return Findings(refused=tuple(found))


def signature_findings(verdict: Verdict, problems: Iterable[Problem]) -> Findings:
    """``problems``: why nothing may be launched where signatures are required, at paths relative to the spec."""
    policies = verdict.having(Rule.SIGNATURE, Standing.IN_FORCE, Standing.WARNS)
    found = [
        Finding(policy=policy, rule=Rule.SIGNATURE, path=f"spec.{problem.path}",
                message=f"Policy {policy.name} of {policy.scope} requires signatures: {problem.message}")
        for problem in problems
        for policy in policies[:1]
    ]  # fmt: skip
    return _split(verdict, found)


def _split(verdict: Verdict, found: Iterable[Finding]) -> Findings:
    warns = {(r.policy.key, r.rule) for r in verdict.rulings if r.standing is Standing.WARNS}
    refused: list[Finding] = []
    warned: list[Finding] = []
    for finding in found:
        (warned if (finding.policy.key, finding.rule) in warns else refused).append(finding)
    return Findings(refused=tuple(refused), warned=tuple(warned))


def _window_findings(verdict: Verdict, now: datetime) -> Iterator[Finding]:
    for policy in verdict.having(Rule.SHUTDOWN, Standing.IN_FORCE, Standing.SHIELDED, Standing.WARNS):
        closed = closed_by(policy, now)
        if closed is not None:
            message = (
                f"Policy {policy.name} of {policy.scope} keeps {verdict.subject.name} shut down until "
                f"{_ends(policy, closed)}. {_ask(policy, verdict)}"
            )
            yield Finding(policy=policy, rule=Rule.SHUTDOWN, path="desired", message=message, until=closed.ends)


def _cap_findings(verdict: Verdict, spec: Spec, before: Spec | None) -> Iterator[Finding]:
    wanted, had = amount_held(spec), None if before is None else amount_held(before)
    kinds = {Rule.GPUS: "devices", Rule.MEMORY: "memory", Rule.CPU: "cpu"}
    for rule, kind in kinds.items():
        for policy in verdict.having(rule, Standing.IN_FORCE, Standing.WARNS):
            most, amount = limit(policy, rule), wanted.of(kind)
            unbounded = rule is Rule.MEMORY and spec.resources.memory is None
            if not unbounded and amount <= most + 1e-9:
                continue
            if before is not None and had is not None and amount <= had.of(kind) + 1e-9:
                no_worse = not unbounded or before.resources.memory is None
            else:
                no_worse = False
            if no_worse:
                continue
            path = f"spec.resources.{'gpus' if kind == 'devices' else kind}"
            allowed = f"Policy {policy.name} of {policy.scope} allows a model {_amount(rule, most)}"
            if unbounded:
                message = f"{allowed}, and without a limit an instance may take any: set resources.memory."
            else:
                message = (
                    f"{allowed}, and its instances could hold {_amount(rule, amount)}. Ask for less, or for fewer "
                    f"replicas. {_ask(policy, verdict)}"
                )
            yield Finding(policy=policy, rule=rule, path=path, message=message)


def _backend_findings(verdict: Verdict, spec: Spec) -> Iterator[Finding]:
    for policy in verdict.having(Rule.BACKENDS, Standing.IN_FORCE, Standing.WARNS):
        allowed = policy.rules.allowed_backends
        if spec.backend not in allowed:
            message = (
                f"Policy {policy.name} of {policy.scope} allows the backends {', '.join(sorted(allowed))}, not "
                f"{spec.backend}. {_ask(policy, verdict)}"
            )
            yield Finding(policy=policy, rule=Rule.BACKENDS, path="spec.backend", message=message)


def amount_held(spec: Spec) -> Amount:
    """What all instances may hold together: as many as autoscaling may ask for, else those of the spec. One for which
    no cores are reserved has a thread, which is counted as a core."""
    count = spec.replicas.max if spec.autoscaling.target is not None else spec.base
    each = amount_of(spec.resources)
    cores = 1.0 if spec.resources.cpu is None else spec.resources.cpu
    return Amount(cpu=cores * count, memory=each.memory * count, devices=each.devices * count)


def closed_by(policy: Policy, now: datetime) -> Period | None:
    """The period of its windows that holds ``now``."""
    found = None if policy.rules.shutdown is None else period(policy.rules.shutdown, now)
    return found if found is not None and found.holds(now) else None


def closed(verdict: Verdict, now: datetime) -> tuple[Policy, Period] | None:
    """What keeps the model shut down, and how long: of several the one that does so longest."""
    found = [(p, c) for p in verdict.holding(Rule.SHUTDOWN) if (c := closed_by(p, now)) is not None]
    return max(found, key=lambda pair: (pair[1].ends, pair[0].key), default=None)


def _ends(policy: Policy, closed: Period) -> str:
    shutdown = policy.rules.shutdown
    return moment_in_words(closed.ends, shutdown.timezone if shutdown else "UTC")


def _amount(rule: Rule, value: float) -> str:
    if rule is Rule.GPUS:
        return f"{value:.0f} GPU(s)"
    if rule is Rule.MEMORY:
        return f"{format_bytes(int(value))} of memory"
    return f"{value:g} core(s)"


def _who(policy: Policy) -> str:
    if policy.namespace == INSTALLATION:
        return "an administrator of the whole installation"
    return f"an administrator of namespace {policy.namespace}"


def _ask(policy: Policy, verdict: Verdict) -> str:
    if not verdict.subject.uid:
        return f"To have the policy changed ask {_who(policy)}."
    return (
        f"For an exception ask {_who(policy)}: 'modelyard policy override {verdict.subject.name} {policy.name} "
        "--reason … --for 4h'."
    )


# ------------------------------------------------------------------------------------------- what runs


@dataclass(frozen=True, slots=True, kw_only=True)
class StopOrder:
    """The model is to be stopped for ``policy``; ``until`` is the end of the window, if it is one."""

    policy: Policy
    rule: Rule
    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """An event that is due once for each ``at``."""

    policy: Policy
    kind: MarkKind
    at: datetime
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is due now, and when to look again."""

    stop: StopOrder | None = None
    warnings: tuple[Warned, ...] = ()
    wake_at: datetime | None = None


def runs(model: Model) -> bool:
    """Whether there is anything to stop."""
    return model.desired is RunState.RUNNING and model.status.state not in (State.STOPPING, State.DELETING)


def run_since(model: Model) -> datetime:
    """Since when it runs, by its last start; of one that was started by an older version, since its last change of
    state."""
    return model.status.run_since or model.status.transition.at


def idle_since(model: Model, quiet_since: datetime | None) -> datetime | None:
    """Since when it has been unused: no request, no start, and nothing that came to serve. None while a request is in
    flight, while it does not serve yet, and where that is not known."""
    status = model.status
    if quiet_since is None or status.state in (State.QUEUED, State.STARTING):
        return None
    since = max(quiet_since, run_since(model))
    # That it was scaled to zero meanwhile is no use of it.
    return since if status.state is State.IDLE else max(since, status.transition.at)


def due(verdict: Verdict, model: Model, quiet_since: datetime | None, now: datetime) -> Due:
    """What the policies ask of a model that runs."""
    looks = [
        _shutdown_due(verdict, now),
        _run_time_due(verdict, model, now),
        _idle_due(verdict, model, quiet_since, now),
        Due(warnings=tuple(_over_caps(verdict, model, now))),
    ]
    stop = next((look.stop for look in looks if look.stop is not None), None)
    wakes = [look.wake_at for look in looks if look.wake_at is not None]
    return Due(stop=stop, warnings=tuple(w for look in looks for w in look.warnings), wake_at=min(wakes, default=None))


def next_stop(verdict: Verdict, model: Model, now: datetime) -> tuple[StopOrder, datetime] | None:
    """What will stop the model next by the clock alone (idle time is not known ahead), and when."""
    found: list[tuple[datetime, StopOrder]] = []
    for policy in verdict.holding(Rule.SHUTDOWN):
        coming = period(policy.rules.shutdown, now) if policy.rules.shutdown else None
        if coming is not None:
            found.append((max(coming.begins, now), _shutdown_order(policy, coming)))
    for policy in verdict.holding(Rule.MAX_RUN_TIME):
        ends = run_since(model) + timedelta(seconds=limit(policy, Rule.MAX_RUN_TIME))
        found.append((max(ends, now), _run_time_order(policy)))
    if not found:
        return None
    at, order = min(found, key=lambda pair: (pair[0], pair[1].policy.key))
    return order, at


def _shutdown_order(policy: Policy, closed: Period) -> StopOrder:
    reason = f"{SHUT_DOWN} {policy.name} until {_ends(policy, closed)}"
    return StopOrder(policy=policy, rule=Rule.SHUTDOWN, reason=reason, until=closed.ends)


def _run_time_order(policy: Policy) -> StopOrder:
    most = duration_in_words(limit(policy, Rule.MAX_RUN_TIME))
    reason = f"It has run for {most}, as long as policy {policy.name} allows"
    return StopOrder(policy=policy, rule=Rule.MAX_RUN_TIME, reason=reason)


def _shutdown_due(verdict: Verdict, now: datetime) -> Due:
    wakes, warnings = [], []
    for policy in verdict.having(Rule.SHUTDOWN, Standing.IN_FORCE, Standing.WARNS):
        found = period(policy.rules.shutdown, now) if policy.rules.shutdown else None
        if found is None:
            continue
        wakes.append(found.begins if now < found.begins else found.ends)
        if found.holds(now) and policy in verdict.warning(Rule.SHUTDOWN):
            message = f"It would be shut down by policy {policy.name} until {_ends(policy, found)}."
            warnings.append(Warned(policy=policy, kind=MarkKind.WARNED_OF_SHUTDOWN, at=found.begins, message=message))
    now_closed = closed(verdict, now)
    stop = None if now_closed is None else _shutdown_order(*now_closed)
    return Due(stop=stop, warnings=tuple(warnings), wake_at=min(wakes, default=None))


def _run_time_due(verdict: Verdict, model: Model, now: datetime) -> Due:
    stop: StopOrder | None = None
    wakes, warnings = [], []
    since = run_since(model)
    for policy in verdict.having(Rule.MAX_RUN_TIME, Standing.IN_FORCE, Standing.WARNS):
        most = timedelta(seconds=limit(policy, Rule.MAX_RUN_TIME))
        ends, notice = since + most, since + most - NOTICE
        enforced = policy in verdict.holding(Rule.MAX_RUN_TIME)
        if now >= ends and enforced:
            stop = _run_time_order(policy)
        elif now >= ends:
            message = f"{_run_time_order(policy).reason}; nothing is stopped, the policy only warns."
            warnings.append(Warned(policy=policy, kind=MarkKind.WARNED_OF_RUN_TIME, at=since, message=message))
        elif enforced and notice > since and now >= notice:
            message = f"Policy {policy.name} stops it at {ends:%Y-%m-%d %H:%M} UTC, when it has run for "
            message += f"{duration_in_words(most.total_seconds())}."
            warnings.append(Warned(policy=policy, kind=MarkKind.NOTICE_OF_RUN_TIME, at=since, message=message))
            wakes.append(ends)
        else:
            wakes.append(notice if enforced and notice > since else ends)
    return Due(stop=stop, warnings=tuple(warnings), wake_at=min(wakes, default=None))


def _idle_due(verdict: Verdict, model: Model, quiet_since: datetime | None, now: datetime) -> Due:
    stop: StopOrder | None = None
    wakes, warnings = [], []
    since = idle_since(model, quiet_since)
    for policy in verdict.having(Rule.IDLE_AFTER, Standing.IN_FORCE, Standing.WARNS):
        most = timedelta(seconds=limit(policy, Rule.IDLE_AFTER))
        if since is None or now < since + most:
            wakes.append((now if since is None else since) + most)
            continue
        reason = f"Unused for {duration_in_words(most.total_seconds())}, as long as policy {policy.name} allows"
        if policy in verdict.holding(Rule.IDLE_AFTER):
            stop = StopOrder(policy=policy, rule=Rule.IDLE_AFTER, reason=reason)
        else:
            message = f"{reason}; nothing is stopped, the policy only warns."
            at = run_since(model)
            warnings.append(Warned(policy=policy, kind=MarkKind.WARNED_OF_IDLING, at=at, message=message))
            wakes.append(now + most)
    return Due(stop=stop, warnings=tuple(warnings), wake_at=min(wakes, default=None))


def _over_caps(verdict: Verdict, model: Model, now: datetime) -> Iterator[Warned]:
    """What runs and no longer conforms goes on; its next start or update would be refused."""
    found = launch_findings(verdict, model.target_spec, now, begins=False)
    for finding in found.refused + found.warned:
        at = finding.policy.changed_at or now
        message = f"It goes on, but would not be launched again. {finding.message}"
        yield Warned(policy=finding.policy, kind=MarkKind.OVER_CAP, at=at, message=message)
