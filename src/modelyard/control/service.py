"""What users ask of models: load, decide by the rules of the domain, write, tell the reconciler.

Every method is one transaction and returns the operation that records the request; the work itself is
the reconciler's.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from modelyard.backends.port import Backend
from modelyard.control.changes import ChangeFeed
from modelyard.control.ports import Idempotency, Store
from modelyard.domain import commands
from modelyard.domain.commands import Asked, Change
from modelyard.domain.errors import (
    EtagMismatch,
    InvalidRequest,
    NotFound,
    Problem,
    Unavailable,
    VersionConflict,
)
from modelyard.domain.model import Model, StopMode
from modelyard.domain.names import name_problem
from modelyard.domain.operations import Operation, OperationKind
from modelyard.domain.spec import BackendName, Spec, spec_problems
from modelyard.domain.states import RunState

Clock = Callable[[], datetime]

# The reconciler and other callers write the same row; each loss of that race is answered by reading again.
_ATTEMPTS = 20


class Busy(Unavailable):
    """The model changes too fast just now. Nothing was done; try again."""

    code = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, why, and with what guards. ``if_match`` is the version that the caller has seen."""

    actor: str
    reason: str = ""
    if_match: int | None = None
    idempotency: Idempotency | None = None


class ModelService:
    """The commands on models."""

    def __init__(self, store: Store, feed: ChangeFeed, backends: Mapping[BackendName, Backend], clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._backends = backends
        self._clock = clock

    async def get(self, namespace: str, name: str) -> Model:
        """Raises NotFound, naming what is missing: the model or its namespace."""
        model = await self._store.get_model(namespace, name)
        if model is not None:
            return model
        if await self._store.get_namespace(namespace) is None:
            raise NotFound(f"There is no namespace {namespace!r}.")
        raise NotFound(f"There is no model {name!r} in namespace {namespace!r}.")

    async def create(
        self, namespace: str, name: str, spec: Spec, desired: RunState, caller: Caller, found: Sequence[Problem] = ()
    ) -> Operation:
        """``found`` is what its reader has found wrong with the request; the answer names all of it."""

        async def decide(asked: Asked) -> Change:
            problem = name_problem("name", name)
            await self._validate(spec, [*found, *([problem] if problem else [])])
            return commands.create(secrets.token_hex(8), namespace, name, spec, desired, asked)

        return await self._carry_out(caller, decide)

    async def update(
        self, namespace: str, name: str, revise: Callable[[Model], Awaitable[Spec]], caller: Caller
    ) -> Operation:
        """``revise`` makes the new spec from the model as stored, and is asked again after a lost race."""

        async def decide(asked: Asked) -> Change:
            model = await self._stored(namespace, name, caller)
            spec = await revise(model)
            await self._validate(spec, [])
            return commands.update(model, spec, asked)

        return await self._carry_out(caller, decide)

    async def start(self, namespace: str, name: str, caller: Caller) -> Operation:
        return await self._command(namespace, name, caller, commands.start)

    async def restart(self, namespace: str, name: str, caller: Caller) -> Operation:
        return await self._command(namespace, name, caller, commands.restart)

    async def stop(self, namespace: str, name: str, mode: StopMode, timeout: float, caller: Caller) -> Operation:
        return await self._command(namespace, name, caller, lambda m, a: commands.stop(m, mode, timeout, a))

    async def delete(self, namespace: str, name: str, mode: StopMode, timeout: float, caller: Caller) -> Operation:
        async def decide(asked: Asked) -> Change:
            model = await self._stored(namespace, name, caller)
            running = await self._store.running_operations(model.uid)
            earlier = next((o for o in running if o.kind is OperationKind.DELETE), None)
            return commands.delete(model, mode, timeout, earlier, asked)

        return await self._carry_out(caller, decide)

    async def cancel(self, operation_id: str, caller: Caller) -> Operation:
        """Cancel a running operation (see :func:`modelyard.domain.commands.cancel_operation`)."""

        async def decide(asked: Asked) -> Change:
            operation = await self._store.get_operation(operation_id)
            if operation is None:
                raise NotFound(f"There is no operation {operation_id!r}.")
            model = await self._store.get_model_by_uid(operation.model_uid)
            if model is None:
                raise NotFound(f"The model {operation.model!r} of this operation is gone.")
            _check_version(model, caller)
            return commands.cancel_operation(model, operation, asked)

        return await self._carry_out(caller, decide)

    # ------------------------------------------------------------------ helpers

    async def _command(
        self, namespace: str, name: str, caller: Caller, decide: Callable[[Model, Asked], Change]
    ) -> Operation:
        async def decide_on_stored(asked: Asked) -> Change:
            return decide(await self._stored(namespace, name, caller), asked)

        return await self._carry_out(caller, decide_on_stored)

    async def _stored(self, namespace: str, name: str, caller: Caller) -> Model:
        """The model, if it still is what the caller has seen."""
        model = await self.get(namespace, name)
        _check_version(model, caller)
        return model

    async def _carry_out(self, caller: Caller, decide: Callable[[Asked], Awaitable[Change]]) -> Operation:
        """Decide and commit; after a lost race, also against a request with the same key, all over again."""
        for _ in range(_ATTEMPTS):
            if (earlier := await self._recall(caller)) is not None:
                return earlier
            try:
                change = await self._feed.commit(await decide(self._asked(caller)), caller.idempotency)
            except VersionConflict:
                continue
            return change.operations[-1]
        raise Busy

    async def _recall(self, caller: Caller) -> Operation | None:
        if caller.idempotency is None:
            return None
        return await self._store.recall(caller.idempotency)

    async def problems(self, spec: Spec) -> list[Problem]:
        """Everything wrong with ``spec``: by the rules, and by what its backend finds on this machine."""
        found = spec_problems(spec)
        named = {p.path for p in found}
        found += [p for p in await self._backends[spec.backend].check(spec) if p.path not in named]
        return [Problem(f"spec.{p.path}", p.code, p.message) for p in found]

    async def _validate(self, spec: Spec, found: Sequence[Problem]) -> None:
        named = {p.path for p in found}
        problems = [*found, *(p for p in await self.problems(spec) if p.path not in named)]
        if problems:
            raise InvalidRequest(problems)

    def _asked(self, caller: Caller) -> Asked:
        return Asked(
            actor=caller.actor, reason=caller.reason, at=self._clock(), operation_id=f"op-{secrets.token_hex(8)}"
        )


def _check_version(model: Model, caller: Caller) -> None:
    if caller.if_match is not None and caller.if_match != model.version:
        raise EtagMismatch(
            f"The model is at version {model.version}, If-Match names {caller.if_match}: get it again "
            "and repeat the change on what it is now."
        )
