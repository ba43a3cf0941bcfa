"""What users ask of models: load, decide by the rules of the domain, write, tell the reconciler.

Every method is one transaction and returns the operation that records the request; the work itself is
the reconciler's.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from modelyard.control.caller import Busy, Caller
from modelyard.control.changes import ChangeFeed
from modelyard.control.checks import SpecChecks
from modelyard.control.gate import Gate
from modelyard.control.ports import Place, Store
from modelyard.domain import commands, steering
from modelyard.domain.access import Permission, Principal, no_model
from modelyard.domain.commands import Asked, Change
from modelyard.domain.effects import needs_new_instances
from modelyard.domain.errors import EtagMismatch, NotFound, Problem, Refused, VersionConflict
from modelyard.domain.model import Model, Revision, StopMode
from modelyard.domain.names import name_problem
from modelyard.domain.operations import Operation, OperationKind
from modelyard.domain.spec import Spec
from modelyard.domain.states import RunState

# The reconciler and other callers write the same row; each loss of that race is answered by reading again.
_ATTEMPTS = 20


class ModelService:
    """The commands on models."""

    def __init__(
        self,
        store: Store,
        feed: ChangeFeed,
        checks: SpecChecks,
        clock: Callable[[], datetime],
        *,
        site: str = "",
        gate: Gate | None = None,
    ) -> None:
        self._store = store
        self._feed = feed
        self._checks = checks
        self._clock = clock
        self._site = site
        self._gate = gate

    async def get(self, namespace: str, name: str, viewer: Principal | None) -> Model:
        """Raises NotFound, naming what is missing: the model or its namespace. One that is not there for the
        ``viewer`` (None: all are) is missing too."""
        model = await self._store.get_model(namespace, name)
        if model is not None and (viewer is None or viewer.sees(namespace, name, model.spec.groups)):
            return model
        if model is None and await self._store.get_namespace(namespace) is None:
            raise NotFound(f"There is no namespace {namespace!r}.")
        raise no_model(namespace, name)

    async def operation(self, operation_id: str, viewer: Principal | None) -> Operation:
        """Raises NotFound: there is none, or its model is not there for the ``viewer``."""
        found = await self._store.get_operation(operation_id)
        if found is None or not await self._sees(viewer, found):
            raise NotFound(f"There is no operation {operation_id!r}.")
        return found

    async def wait_operation(self, operation_id: str, timeout: float, viewer: Principal | None) -> Operation:
        """The operation once it is done, or as it stands after ``timeout`` seconds. Raises NotFound."""
        await self.operation(operation_id, viewer)
        return await self._feed.wait_operation(operation_id, timeout)

    async def _sees(self, viewer: Principal | None, operation: Operation) -> bool:
        if viewer is None or viewer.sight is None:
            return True
        if operation.kind is OperationKind.BULK and operation.actor == viewer.name:
            return True
        groups = await self._store.groups_of(operation.model_uid)
        return viewer.sees(operation.namespace, operation.model, groups)

    async def create(
        self, namespace: str, name: str, spec: Spec, desired: RunState, caller: Caller, found: Sequence[Problem] = ()
    ) -> Operation:
        """``found`` is what its reader has found wrong with the request; the answer names all of it."""

        async def decide(asked: Asked) -> Change:
            if caller.principal is not None:
                caller.principal.demand(Permission.EDIT, namespace, name)
            problem = name_problem("name", name)
            found_here = [*found, *([problem] if problem else [])]
            found_here += await self._checks.arm_problems(namespace, spec, None, caller.principal)
            await self._checks.validate(namespace, name, spec, found_here)
            return commands.create(secrets.token_hex(8), namespace, name, spec, desired, asked, self._site)

        return await self._carry_out(caller, decide)

    async def update(
        self,
        namespace: str,
        name: str,
        revise: Callable[[Model], Awaitable[Spec]],
        caller: Caller,
        *,
        acknowledge_restart: bool = False,
    ) -> Operation:
        """``revise`` makes the new spec from the model as stored, and is asked again after a lost race. A change
        of what surrounds the process replaces its instances, which the caller acknowledges."""

        async def decide(asked: Asked) -> Change:
            model = await self._stored(namespace, name, caller)
            spec = await revise(model)
            found = [
                *commands.update_problems(model, spec, acknowledge_restart=acknowledge_restart),
                *await self._checks.arm_problems(namespace, spec, model.spec, caller.principal),
            ]
            await self._checks.validate(namespace, name, spec, found, launches=commands.launches(model, spec))
            return commands.update(model, spec, asked)

        return await self._carry_out(caller, decide)

    async def rollback(self, namespace: str, name: str, generation: int | None, caller: Caller) -> Operation:
        """To the revision ``generation``; None: to the one that is served where the newest was given up, else to the
        newest before it that was not given up and would run something else."""

        async def decide(asked: Asked) -> Change:
            model = await self._stored(namespace, name, caller)
            revision = await self._revision(model, generation)
            await self._checks.validate(namespace, name, revision.spec, [])
            return commands.rollback(model, revision, asked)

        return await self._carry_out(caller, decide)

    async def start(self, namespace: str, name: str, caller: Caller, *, restore_autoscaling: bool = True) -> Operation:
        def decide(model: Model, asked: Asked) -> Change:
            return commands.start(model, asked, restore_autoscaling=restore_autoscaling)

        return await self._launch(namespace, name, caller, decide)

    async def restart(self, namespace: str, name: str, caller: Caller) -> Operation:
        return await self._launch(namespace, name, caller, commands.restart)

    async def redeploy(self, namespace: str, name: str, caller: Caller) -> Operation:
        return await self._launch(namespace, name, caller, commands.redeploy)

    async def terminate(
        self, namespace: str, name: str, instance: str, mode: StopMode, timeout: float, caller: Caller
    ) -> Operation:
        """End one instance, which is then replaced."""
        return await self._command(
            namespace, name, caller, lambda m, a: commands.terminate(m, instance, mode, timeout, a)
        )

    async def pause_rollout(self, namespace: str, name: str, caller: Caller) -> Model:
        return await self._steer(namespace, name, caller, steering.pause_rollout)

    async def resume_rollout(self, namespace: str, name: str, caller: Caller) -> Model:
        return await self._steer(namespace, name, caller, steering.resume_rollout)

    async def force_rollout(self, namespace: str, name: str, caller: Caller) -> Model:
        return await self._steer(namespace, name, caller, steering.force_rollout)

    async def cancel_rollout(self, namespace: str, name: str, caller: Caller) -> Model:
        async def decide(model: Model, asked: Asked) -> Change:
            return steering.cancel_rollout(model, await self._store.running_operations(model.uid), asked)

        return await self._change(namespace, name, caller, decide)

    async def promote_rollout(self, namespace: str, name: str, caller: Caller) -> Model:
        return await self._steer(namespace, name, caller, steering.promote_rollout)

    async def set_canary_percent(self, namespace: str, name: str, percent: int, caller: Caller) -> Model:
        return await self._steer(namespace, name, caller, lambda m, a: steering.set_canary_percent(m, percent, a))

    async def abort_canary(self, namespace: str, name: str, caller: Caller) -> Model:
        async def decide(model: Model, asked: Asked) -> Change:
            return steering.abort_canary(model, await self._store.running_operations(model.uid), asked)

        return await self._change(namespace, name, caller, decide)

    async def stop(
        self,
        namespace: str,
        name: str,
        mode: StopMode,
        timeout: float,
        caller: Caller,
        *,
        wake_later: list[Change] | None = None,
    ) -> Operation:
        """The reconciler is told at once, or by whoever gives ``wake_later``, which the change is added to."""
        return await self._command(namespace, name, caller, lambda m, a: commands.stop(m, mode, timeout, a), wake_later)

    async def delete(self, namespace: str, name: str, mode: StopMode, timeout: float, caller: Caller) -> Operation:
        async def decide(asked: Asked) -> Change:
            model = await self._stored(namespace, name, caller)
            running = await self._store.running_operations(model.uid)
            earlier = next((o for o in running if o.kind is OperationKind.DELETE), None)
            return commands.delete(model, mode, timeout, earlier, asked)

        return await self._carry_out(caller, decide)

    async def cancel(self, operation_id: str, caller: Caller) -> Operation:
        """Cancel a running operation (see :func:`modelyard.domain.steering.cancel_operation`)."""

        async def decide(asked: Asked) -> Change:
            operation = await self.operation(operation_id, caller.principal)
            if caller.principal is not None:
                caller.principal.demand(Permission.OPERATE, operation.namespace, operation.model)
            model = await self._store.get_model_by_uid(operation.model_uid)
            if model is None:
                raise NotFound(f"The model {operation.model!r} of this operation is gone.")
            _check_version(model, caller)
            return steering.cancel_operation(model, operation, asked)

        return await self._carry_out(caller, decide)

    async def tell_stuck(self, model: Model, version: str, why: str, caller: Caller) -> None:
        """Have an event say why ``model`` cannot follow its source to ``version``. Raises VersionConflict: the model
        is another one meanwhile."""
        await self._feed.commit(commands.cannot_follow(model, version, why, self._asked(caller)))

    # ------------------------------------------------------------------ helpers

    async def _command(
        self,
        namespace: str,
        name: str,
        caller: Caller,
        decide: Callable[[Model, Asked], Change],
        wake_later: list[Change] | None = None,
    ) -> Operation:
        async def decide_on_stored(asked: Asked) -> Change:
            return decide(await self._stored(namespace, name, caller), asked)

        return await self._carry_out(caller, decide_on_stored, wake_later)

    async def _launch(
        self, namespace: str, name: str, caller: Caller, decide: Callable[[Model, Asked], Change]
    ) -> Operation:
        """A command that launches what the model is made of, unless it runs and goes on as it is."""

        async def decide_on_stored(asked: Asked) -> Change:
            model = await self._stored(namespace, name, caller)
            change = decide(model, asked)
            if change.after is None or change.after.status.target != model.status.target or not model.status.instances:
                await self._checks.admit(model)
            return change

        return await self._carry_out(caller, decide_on_stored)

    async def _steer(
        self, namespace: str, name: str, caller: Caller, decide: Callable[[Model, Asked], Change]
    ) -> Model:
        async def decide_at_once(model: Model, asked: Asked) -> Change:
            return decide(model, asked)

        return await self._change(namespace, name, caller, decide_at_once)

    async def _change(
        self, namespace: str, name: str, caller: Caller, decide: Callable[[Model, Asked], Awaitable[Change]]
    ) -> Model:
        """A change that no operation records; the model after it."""
        for _ in range(_ATTEMPTS):
            model = await self._stored(namespace, name, caller)
            try:
                written = await self._feed.commit(await decide(model, self._asked(caller)))
            except VersionConflict:
                continue
            assert written.after is not None
            return written.after
        raise Busy

    async def _revision(self, model: Model, generation: int | None) -> Revision:
        revisions = await self._store.list_revisions(model.uid)
        if generation is None and needs_new_instances(model.target_spec, model.spec):
            # The newest was given up: what is served is what it goes back to.
            generation = model.status.target.generation
        if generation is None:
            for revision in revisions:
                earlier = revision.generation < model.generation and revision.failure is None
                if earlier and needs_new_instances(model.target_spec, revision.spec):
                    return revision
            message = f"No earlier revision of model {model.name!r} that did not fail differs from what is served."
            raise Refused("no_earlier_revision", message)
        for revision in revisions:
            if revision.generation == generation:
                return revision
        raise NotFound(f"Model {model.name!r} has no revision {generation}; its newest is {model.generation}.")

    async def _stored(self, namespace: str, name: str, caller: Caller) -> Model:
        """The model, if it still is what the caller has seen."""
        model = await self.get(namespace, name, caller.principal)
        _check_version(model, caller)
        return model

    async def _carry_out(
        self,
        caller: Caller,
        decide: Callable[[Asked], Awaitable[Change]],
        wake_later: list[Change] | None = None,
    ) -> Operation:
        """Decide and commit; after a lost race, also against a request with the same key, all over again. The
        reconciler is told at once, or of what is added to ``wake_later`` by the caller."""
        for _ in range(_ATTEMPTS):
            if (earlier := await self._recall(caller)) is not None:
                return earlier
            try:
                change = await decide(self._asked(caller))
                if self._gate is not None:
                    change = await self._gate.hold(change, caller)
                if caller.amend is not None:
                    change = await caller.amend(change)
                change = await self._feed.commit(change, caller.idempotency, wake=wake_later is None)
            except VersionConflict:
                continue
            if wake_later is not None:
                wake_later.append(change)
            return change.operations[-1]
        raise Busy

    async def _recall(self, caller: Caller) -> Operation | None:
        if caller.idempotency is None:
            return None
        return await self._store.recall(caller.idempotency)

    def _asked(self, caller: Caller) -> Asked:
        return Asked(
            actor=caller.actor, reason=caller.reason, at=self._clock(), operation_id=f"op-{secrets.token_hex(8)}"
        )


def replaced(model: Model) -> NotFound:
    """The answer where the model that was meant is gone, and this one has its name."""
    return NotFound(f"The model {model.ref} is another one than was meant: that one is deleted.")


def _check_version(model: Model, caller: Caller) -> None:
    if isinstance(caller.idempotency, Place) and caller.idempotency.uid != model.uid:
        raise replaced(model)
    if caller.if_match is not None and caller.if_match != model.version:
        raise EtagMismatch(
            f"The model is at version {model.version}, If-Match names {caller.if_match}: get it again "
            "and repeat the change on what it is now."
        )
