"""Policies as users keep them and as commands meet them: kept, explained, previewed, and held against every command.

The loop that stops models by itself is in :mod:`modelyard.control.policing`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from modelyard.control.caller import Caller
from modelyard.control.gate import Gate
from modelyard.control.policy_ports import PolicyStore
from modelyard.control.ports import ModelQuery, Sources, Store
from modelyard.domain.access import Forbidden, Permission, Principal, need_of
from modelyard.domain.commands import Asked, Change, event_of
from modelyard.domain.enforcing import (
    OVERRIDDEN,
    WARNING,
    Finding,
    Findings,
    StopOrder,
    closed,
    ending_findings,
    launch_findings,
    leaving_findings,
    next_stop,
    runs,
    signature_findings,
)
from modelyard.domain.errors import InvalidRequest, NotFound, Problem
from modelyard.domain.model import Event, Model, StopMode
from modelyard.domain.operations import OperationKind, OperationState
from modelyard.domain.policies import (
    INSTALLATION,
    Override,
    Policy,
    Rule,
    Subject,
    check_override,
    policy_problems,
    subject_of,
)
from modelyard.domain.spec import Spec
from modelyard.domain.states import RunState, State
from modelyard.domain.verdicts import Ruling, Standing, Verdict, decide, with_policy

_PAGE: Final = 1000
_CHANGES_SPEC: Final = (OperationKind.DEPLOY, OperationKind.UPDATE, OperationKind.ROLLBACK)
_LAUNCHES: Final = (*_CHANGES_SPEC, OperationKind.START, OperationKind.RESTART, OperationKind.REDEPLOY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the policies come to for one model. ``closed_until``: the end of the window that it is shut down in;
    ``next_stop`` and ``stops_at``: what will stop it next by the clock, if it runs; ``findings``: what speaks against
    what it is now."""

    model: Model
    verdict: Verdict
    closed_until: datetime | None = None
    next_stop: StopOrder | None = None
    stops_at: datetime | None = None
    findings: Findings = Findings()


class PolicyDesk(Gate):
    """``shared``: other processes may write policies, so none are remembered here. ``listeners`` are told when policies
    or overrides have changed."""

    def __init__(
        self, store: PolicyStore, models: Store, clock: Callable[[], datetime], *, shared: bool,
        sources: Sources | None = None,
    ) -> None:  # fmt: skip
        self._store, self._models, self._clock, self._sources = store, models, clock, sources
        self._shared = shared
        self._all: Sequence[Policy] | None = None
        self._changes = 0
        self.listeners: list[Callable[[], None]] = []

    # ------------------------------------------------------------------ keeping

    async def kept(self, scope: str) -> Sequence[Policy]:
        """Those of a namespace, or of the installation."""
        return [p for p in await self._policies(scope) if p.namespace == scope]

    async def get(self, scope: str, name: str) -> Policy:
        """Raises NotFound."""
        found = await self._store.get_policy(scope, name)
        if found is None:
            where = f"in namespace {scope!r}" if scope else "of the whole installation"
            raise NotFound(f"There is no policy {name!r} {where}.")
        return found

    async def put(self, policy: Policy, caller: Caller) -> tuple[Policy, bool]:
        """See :meth:`PolicyStore.put_policy`. Raises InvalidRequest."""
        if problems := policy_problems(policy):
            raise InvalidRequest(problems)
        written = await self._store.put_policy(policy, caller.if_match, self._asked(caller))
        self._changed()
        return written

    async def delete(self, scope: str, name: str, caller: Caller) -> None:
        """Raises NotFound, EtagMismatch."""
        gone = await self._store.delete_policy(scope, name, caller.if_match, self._asked(caller))
        self._changed()
        if not gone:
            await self.get(scope, name)

    async def override(self, model: Model, name: str, expires_at: datetime, caller: Caller) -> Override:
        """Raises InvalidRequest, NotFound (no such policy selects the model), Forbidden."""
        policy = await self._of(model, name)
        self._demand(policy, model, caller.principal)
        override = Override(
            policy=policy.name, scope=policy.namespace, model_uid=model.uid, reason=caller.reason, by=caller.actor,
            created_at=self._clock(), expires_at=expires_at,
        )  # fmt: skip
        check_override(override)
        await self._store.put_override(override, model, self._asked(caller))
        self._changed()
        return override

    async def end_override(self, model: Model, name: str, caller: Caller) -> None:
        """Raises NotFound, Forbidden."""
        found = next((o for o in await self._store.overrides(model.uid) if o.policy == name), None)
        if found is None:
            raise NotFound(f"Policy {name!r} is not overridden for model {model.name!r}.")
        self._demand(await self.get(found.scope, name), model, caller.principal)
        await self._store.delete_override(found, model, self._asked(caller))
        self._changed()

    def forget(self) -> None:
        """Policies are gone by another way than :meth:`delete`: their namespace is."""
        self._changed()

    # ------------------------------------------------------------------ showing

    async def explain(self, model: Model) -> Explanation:
        return self._explain(model, await self._verdict(subject_of(model)), self._clock())

    async def verdicts(self, models: Sequence[Model]) -> Mapping[str, Verdict]:
        """What the policies come to for each of them, by uid."""
        policies, overrides, now = await self._store.policies(), await self._store.overrides(), self._clock()
        return {model.uid: decide(subject_of(model), policies, overrides, now) for model in models}

    async def preview(self, policy: Policy) -> AsyncIterator[tuple[Explanation, Sequence[Ruling]]]:
        """What each model that ``policy`` selects would come to with it, and what of that is its own doing. Nothing is
        changed. Raises InvalidRequest."""
        if problems := policy_problems(policy):
            raise InvalidRequest(problems)
        policies = with_policy(await self._store.policies(), policy)
        overrides = await self._store.overrides()
        now = self._clock()
        query = ModelQuery(namespace=policy.namespace or None, page_size=_PAGE)
        while True:
            page = await self._models.list_models(query)
            for model in page.items:
                subject = subject_of(model)
                if policy.selects(subject):
                    explained = self._explain(model, decide(subject, policies, overrides, now), now)
                    yield explained, [r for r in explained.verdict.rulings if r.policy.key == policy.key]
            if not page.next_page_token:
                return
            query = replace(query, page_token=page.next_page_token)

    def _explain(self, model: Model, verdict: Verdict, now: datetime) -> Explanation:
        shut = closed(verdict, now)
        coming = next_stop(verdict, model, now) if runs(model) else None
        return Explanation(
            model=model,
            verdict=verdict,
            closed_until=None if shut is None else shut[1].ends,
            next_stop=None if coming is None else coming[0],
            stops_at=None if coming is None else coming[1],
            findings=launch_findings(verdict, model.spec, now, begins=False),
        )

    # ------------------------------------------------------------------ commands

    async def hold(self, change: Change, caller: Caller) -> Change:
        """See :class:`Gate`."""
        model, operation = change.after or change.before, change.operations[-1] if change.operations else None
        if caller.exempt or model is None or operation is None or change.before == change.after:
            return change
        kind = operation.kind
        if operation.state is OperationState.CANCELLED:
            # What is left is what it was before; only one that ends a model is a stop, whatever it was asked as.
            was = change.before.desired if change.before is not None else None
            if was is not RunState.RUNNING or model.desired is not RunState.STOPPED:
                return change
            kind = OperationKind.STOP
        if kind in _LAUNCHES:
            left, told = await self._left(change, model, caller)
            found = left + await self._launch_findings(change, model, kind)
            change = replace(change, events=(*change.events, *told))
            if kind in _CHANGES_SPEC and found.refused:
                raise InvalidRequest(found.problems)
            found.check([])
        elif kind in (OperationKind.STOP, OperationKind.DELETE):
            found, overridden = await self._ending(change, model, kind, caller)
            change = replace(change, events=(*change.events, *overridden))
        else:
            return change
        if not found.warned:
            return change
        messages = tuple(dict.fromkeys(f.message for f in found.warned))
        told = [self._event(model, f, WARNING, operation.actor, operation.reason) for f in found.warned]
        warned = replace(operation, warnings=(*operation.warnings, *messages))
        return replace(change, operations=(*change.operations[:-1], warned), events=(*change.events, *told))

    async def _left(self, change: Change, model: Model, caller: Caller) -> tuple[Findings, list[Event]]:
        """What speaks against labels by which a policy would no longer be for the model, and events of those policies
        that the caller may except it from anyway."""
        before = change.before
        if before is None or before.spec.labels == model.spec.labels:
            return Findings(), []
        found = leaving_findings(await self._verdict(subject_of(before)), subject_of(model)).refused
        may = [f for f in found if self._may_override(f.policy, model, caller.principal)]
        told = [
            self._event(
                model, replace(f, message=f"Policy {f.policy.name} is no longer for it: its labels were changed."),
                OVERRIDDEN, caller.actor, caller.reason,
            )
            for f in may
        ]  # fmt: skip
        return Findings(refused=tuple(f for f in found if f not in may)), told

    async def _launch_findings(self, change: Change, model: Model, kind: OperationKind) -> Findings:
        before = change.before
        begins = model.desired is RunState.RUNNING and (before is None or before.desired is RunState.STOPPED)
        stays = before is not None and before.status.target == model.status.target and not begins
        if stays and before is not None and model.spec == before.spec:
            return Findings()
        spec = model.spec if kind in _CHANGES_SPEC else model.target_spec
        had = before.spec if before is not None and stays and spec.base <= before.spec.base else None
        verdict = await self._verdict(subject_of(model))
        found = launch_findings(verdict, spec, self._clock(), begins=begins, before=had)
        return found if had is not None else found + await self._unsigned(verdict, model.namespace, spec)

    async def _unsigned(self, verdict: Verdict, namespace: str, spec: Spec) -> Findings:
        if self._sources is None or not verdict.having(Rule.SIGNATURE, Standing.IN_FORCE, Standing.WARNS):
            return Findings()
        return signature_findings(verdict, await self._sources.problems(namespace, spec, required=True))

    async def _ending(
        self, change: Change, model: Model, kind: OperationKind, caller: Caller
    ) -> tuple[Findings, list[Event]]:
        before = change.before
        assert before is not None
        if before.status.state is State.DELETING or (kind is OperationKind.STOP and before.desired is RunState.STOPPED):
            return Findings(), []
        verdict = await self._verdict(subject_of(before))
        found = ending_findings(verdict, "deleted" if kind is OperationKind.DELETE else "stopped")
        if not found.refused:
            return found, []
        stop = model.status.stop
        forced = kind is OperationKind.STOP and stop is not None and stop.mode is StopMode.FORCE
        emergency = forced and caller.principal is not None and caller.principal.oversees
        if not emergency:
            if not caller.override:
                found.check([])
            if not caller.reason.strip():
                raise InvalidRequest([Problem("reason", "required", "Say why the policy is overridden.")])
            for finding in found.refused:
                self._demand(finding.policy, model, caller.principal)
        told = [self._event(model, f, OVERRIDDEN, caller.actor, caller.reason) for f in found.refused]
        return Findings(warned=found.warned), told

    # ------------------------------------------------------------------ helpers

    async def _policies(self, namespace: str) -> Sequence[Policy]:
        """Those that may be for models of the namespace."""
        if self._shared:
            return await self._store.policies(INSTALLATION, namespace)
        found = self._all
        if found is None:
            changes = self._changes
            found = await self._store.policies()
            if changes == self._changes:
                self._all = found
        return [p for p in found if p.namespace in (INSTALLATION, namespace)]

    async def _verdict(self, subject: Subject) -> Verdict:
        policies = [p for p in await self._policies(subject.namespace) if p.selects(subject)]
        overrides = await self._store.overrides(subject.uid) if policies and subject.uid else ()
        return decide(subject, policies, overrides, self._clock())

    async def _of(self, model: Model, name: str) -> Policy:
        policies = await self._policies(model.namespace)
        found = next((p for p in policies if p.name == name and p.selects(subject_of(model))), None)
        if found is None:
            raise NotFound(
                f"No policy {name!r} is for model {model.name!r}: modelyard policy explain {model.name} shows those "
                "that are."
            )
        return found

    def _demand(self, policy: Policy, model: Model, principal: Principal | None) -> None:
        """Raises Forbidden unless the caller may make exceptions from the policy."""
        if not self._may_override(policy, model, principal):
            permission = Permission.OVERSEE if policy.namespace == INSTALLATION else Permission.ADMINISTER
            who = "The caller" if principal is None else principal.name
            raise Forbidden(
                f"{who} may not override policy {policy.name} of {policy.scope}: it needs {need_of(permission)}."
            )

    @staticmethod
    def _may_override(policy: Policy, model: Model, principal: Principal | None) -> bool:
        if principal is None:
            return False
        if policy.namespace == INSTALLATION:
            return principal.oversees
        return principal.may(Permission.ADMINISTER, model.namespace, model.name)

    def _event(self, model: Model, finding: Finding, type_: str, actor: str, reason: str) -> Event:
        asked = Asked(actor=actor, reason=reason, at=self._clock(), operation_id="")
        data: dict[str, Any] = {"policy": finding.policy.name, "rule": str(finding.rule)}
        return event_of(model, type_, asked, finding.message, data)

    def _asked(self, caller: Caller) -> Asked:
        return Asked(actor=caller.actor, reason=caller.reason, at=self._clock(), operation_id="")

    def _changed(self) -> None:
        self._all = None
        self._changes += 1
        for listener in self.listeners:
            listener()
