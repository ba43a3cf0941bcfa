"""What users ask of models: load, decide by the rules of the domain, write, tell the reconciler.

Every method is one transaction and returns the operation that records the request; the work itself is
the reconciler's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.backends.port import Backend
from modelyard.control.bulk_ports import BulkStore
from modelyard.control.capacity import CapacityViews
from modelyard.control.changes import ChangeFeed
from modelyard.control.forecast import Forecast, forecast_start, forecast_update
from modelyard.control.gate import Gate
from modelyard.control.ports import Idempotency, ModelQuery, Place, Resolved, Sources, Store
from modelyard.domain import commands, states, steering
from modelyard.domain.access import EVERYWHERE, Permission, Principal, Sight, no_model, no_registered_model
from modelyard.domain.capacity import NOTHING, Inventory, amount_of, left_of
from modelyard.domain.commands import Asked, Change
from modelyard.domain.effects import needs_new_instances
from modelyard.domain.errors import (
    AlreadyExists,
    EtagMismatch,
    InvalidRequest,
    ModelyardError,
    NotFound,
    Problem,
    Refused,
    Unavailable,
    VersionConflict,
)
from modelyard.domain.features import forbidden
from modelyard.domain.model import Model, ModelRef, Namespace, Revision, StopMode
from modelyard.domain.names import (
    FileSource,
    InvalidReference,
    Registered,
    RegisteredVersion,
    name_problem,
    parse_reference,
)
from modelyard.domain.operations import Operation, OperationKind
from modelyard.domain.signing import launch_refusal
from modelyard.domain.spec import BackendName, Engine, Spec
from modelyard.domain.states import Command, RunState, State
from modelyard.domain.validation import spec_problems

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]

# The reconciler and other callers write the same row; each loss of that race is answered by reading again.
_ATTEMPTS = 20
_PAGE = 1000
# So many of many are written together; others get their turn in between.
_ABREAST = 64


class Busy(Unavailable):
    """The model changes too fast just now. Nothing was done; try again."""

    code = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, why, and with what guards. ``if_match`` is the version that the caller has seen; ``principal`` what it
    may and sees (None: all, as what acts by itself). ``amend`` has the last word on the change that is decided on, each
    time anew after a lost race: what it adds is written with it, and what it raises refuses it."""

    actor: str
    reason: str = ""
    if_match: int | None = None
    idempotency: Idempotency | Place | None = None
    principal: Principal | None = None
    amend: Callable[[Change], Awaitable[Change]] | None = None
    # Ends a protected model nevertheless, if the caller may and says why.
    override: bool = False
    # Carries a policy out, so none holds it up.
    exempt: bool = False


@dataclass(frozen=True, slots=True)
class Bulk:
    """What became of one model of many: an operation, or the reason why there is none."""

    model: ModelRef
    operation: Operation | None
    error: ModelyardError | None


class ModelService:
    """The commands on models."""

    def __init__(
        self,
        store: Store,
        feed: ChangeFeed,
        backends: Mapping[BackendName, Backend],
        capacity: CapacityViews,
        clock: Clock,
        *,
        site: str = "",
        sources: Sources | None = None,
        bulks: BulkStore | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._store = store
        self._feed = feed
        self._backends = backends
        self._capacity = capacity
        self._clock = clock
        self._site = site
        self._sources = sources
        self._bulks = bulks
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
            found_here += await self._arm_problems(namespace, spec, None, caller.principal)
            await self._validate(namespace, name, spec, found_here)
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
                *await self._arm_problems(namespace, spec, model.spec, caller.principal),
            ]
            await self._validate(namespace, name, spec, found, launches=_launches(model, spec))
            return commands.update(model, spec, asked)

        return await self._carry_out(caller, decide)

    async def rollback(self, namespace: str, name: str, generation: int | None, caller: Caller) -> Operation:
        """To the revision ``generation``; None: to the one that is served where the newest was given up, else to the
        newest before it that was not given up and would run something else."""

        async def decide(asked: Asked) -> Change:
            model = await self._stored(namespace, name, caller)
            revision = await self._revision(model, generation)
            await self._validate(namespace, name, revision.spec, [])
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

    async def stop_many(
        self, namespace: str | None, names: Sequence[str], labels: Mapping[str, str], mode: StopMode, timeout: float,
        caller: Caller,
    ) -> list[Bulk]:  # fmt: skip
        """Stop the models of ``namespace`` (None: of all) that are named and have all ``labels``; no name means
        all of them. What became of each, in the order of names; one that is missing or refuses stops none of
        the others. To force all to stop is the emergency stop: it goes before everything else."""
        commands.check_timeout(timeout)
        urgent = mode is StopMode.FORCE and not names and not labels
        # Beside the rest: each wait lets all others have their turn first.
        called_off = asyncio.ensure_future(self._call_off(namespace, caller)) if urgent else None
        if names and namespace is not None and not labels:
            # Each by its name: nobody else needs to be looked at.
            chosen = [ModelRef("", namespace, name) for name in dict.fromkeys(names)]
            found: list[Bulk] = []
        else:
            sight = caller.principal.sight if caller.principal is not None else None
            chosen, found = _named(await self._select(namespace, labels, sight), names, namespace)

        turns = asyncio.Semaphore(len(chosen) + 1 if urgent else _ABREAST)
        accepted: list[Change] = []

        def decide(model: Model, asked: Asked) -> Change:
            return commands.stop(model, mode, timeout, asked)

        async def one(ref: ModelRef) -> Bulk:
            try:
                if caller.principal is not None:
                    caller.principal.demand(Permission.OPERATE, ref.namespace, ref.name)
                async with turns:
                    return Bulk(ref, await self._command(ref.namespace, ref.name, caller, decide, accepted), None)
            except ModelyardError as error:
                return Bulk(ref, None, error)

        try:
            # Together: writes of one turn of the event loop share a transaction.
            return found + list(await asyncio.gather(*(one(ref) for ref in chosen)))
        finally:
            # Only now: to carry out a stop takes several times what it takes to accept it.
            for change in accepted:
                self._feed.wake(change)
            if called_off is not None:
                try:
                    await called_off
                except ModelyardError as error:
                    # The stops are accepted all the same, and each makes its own model's start void.
                    log.warning("The starts asked of many models could not be called off: %s", error)

    async def _call_off(self, namespace: str | None, caller: Caller) -> None:
        """Begin no more starts that were asked of many models; each stop makes its own model's void anyway."""
        who, where = caller.principal, namespace or EVERYWHERE
        if self._bulks is not None and (who is None or who.may(Permission.OPERATE, where)):
            await self._bulks.call_off(namespace, self._clock())

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

    # ------------------------------------------------------------------ forecasts

    async def forecast_create(
        self, namespace: str, name: str, spec: Spec, desired: RunState, viewer: Principal | None,
        found: Sequence[Problem] = (),
    ) -> Forecast:  # fmt: skip
        """Raises what :meth:`create` would."""
        if viewer is not None:
            viewer.demand(Permission.EDIT, namespace, name)
        problem = name_problem("name", name)
        found = [*found, *([problem] if problem else []), *await self._arm_problems(namespace, spec, None, viewer)]
        await self._validate(namespace, name, spec, found)
        if await self._store.get_namespace(namespace) is None:
            raise NotFound(f"There is no namespace {namespace!r}.")
        ref = ModelRef("", namespace, name)
        if await self._store.get_model(namespace, name) is not None:
            raise AlreadyExists(f"The model {ref} exists already. Update it, or choose another name.")
        if self._gate is not None:
            await self._gate.check_launch(namespace, name, spec, None, begins=desired is RunState.RUNNING)
        forecast = forecast_start(ref, spec, await self._capacity.room(self._site), self._clock())
        return forecast if desired is RunState.RUNNING else replace(forecast, count=0)

    async def forecast_start(self, namespace: str, name: str, viewer: Principal | None) -> Forecast:
        """Raises what :meth:`start` would."""
        model = await self.get(namespace, name, viewer)
        if model.status.state is not State.QUEUED:
            states.decide(model.status.state, Command.START)
        await self._admit(model)
        if self._gate is not None:
            begins = model.desired is RunState.STOPPED
            await self._gate.check_launch(namespace, name, model.target_spec, model, begins=begins)
        room = await self._capacity.room(model.site)
        return forecast_start(model.ref, model.target_spec, room, self._clock())

    async def forecast_update(
        self, namespace: str, name: str, revise: Callable[[Model], Awaitable[Spec]], viewer: Principal | None
    ) -> Forecast:
        """Raises what :meth:`update` would, but for the acknowledgement, which the forecast asks for."""
        model = await self.get(namespace, name, viewer)
        spec = await revise(model)
        found = [
            *commands.update_problems(model, spec, acknowledge_restart=True),
            *await self._arm_problems(namespace, spec, model.spec, viewer),
        ]
        await self._validate(namespace, name, spec, found, launches=_launches(model, spec))
        if commands.replaces(model, spec):
            states.decide(model.status.state, Command.UPDATE)
        if self._gate is not None and _launches(model, spec):
            await self._gate.check_launch(namespace, name, spec, model, begins=False)
        return forecast_update(model, spec, await self._capacity.room(model.site), self._clock())

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
                await self._admit(model)
            return change

        return await self._carry_out(caller, decide_on_stored)

    async def _admit(self, model: Model) -> None:
        """Raises Refused where nothing may be launched from what the model is made of, or its namespace may no longer
        use that."""
        known = await self._store.get_namespace(model.namespace)
        if known is not None and (off := forbidden(known.features, model.target_spec)):
            raise Refused("feature_off", " ".join(problem.message for problem in off), ["update", "stop"])
        if problems := await self._unsigned(model.namespace, model.target_spec):
            raise launch_refusal(problems, ["update", "stop"])

    async def _unsigned(self, namespace: str, spec: Spec) -> list[Problem]:
        """What of ``spec`` would have to be signed in the namespace, and is not."""
        if self._sources is None:
            return []
        return [replace(p, path=f"spec.{p.path}") for p in await self._sources.problems(namespace, spec)]

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

    async def _select(self, namespace: str | None, labels: Mapping[str, str], sight: Sight | None) -> list[ModelRef]:
        refs: list[ModelRef] = []
        query = ModelQuery(namespace=namespace, labels=labels, page_size=_PAGE, sight=sight)
        while True:
            page = await self._store.list_models(query)
            refs += [model.ref for model in page.items]
            if not page.next_page_token:
                return refs
            query = replace(query, page_token=page.next_page_token)

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

    async def resolve(
        self, namespace: str, source: str | None, engine: Engine | None, viewer: Principal | None
    ) -> Resolved | None:
        """What ``source`` stands for now; None where it is no registered model. One that is not there for the
        ``viewer`` (None: all are) is missing. Raises InvalidRequest."""
        try:
            reference = None if source is None else parse_reference(source)
        except InvalidReference:
            return None  # the rules say so
        if reference is None or isinstance(reference, FileSource) or self._sources is None:
            return None
        if viewer is not None and not viewer.may(Permission.READ, namespace, reference.name):
            missing = no_registered_model(namespace, reference.name)
            raise InvalidRequest([Problem("spec.source", missing.code, missing.message)])
        return await self._sources.resolve(namespace, reference, engine)

    async def newer(self, models: Sequence[Model]) -> Mapping[str, str]:
        """By uid, the version that a model's source means by now, where that is not the one that it is made of."""
        found: dict[str, str] = {}
        means: dict[tuple[str, Registered], str | None] = {}
        for model in models:
            reference, artifact = model.spec.registered, model.spec.artifact
            if reference is None or artifact is None or self._sources is None:
                continue
            if isinstance(reference, RegisteredVersion):
                continue  # it never means another
            key = model.namespace, reference
            if key not in means:
                means[key] = await self._sources.version(*key)
            version = means[key]
            if version is not None and version != artifact.version:
                found[model.uid] = version
        return found

    async def not_startable(self, namespace: str) -> list[str]:
        """The names of models that are to run and could not be launched now for want of a signature; of the first
        thousand models, by name."""
        page = await self._store.list_models(ModelQuery(namespace=namespace, page_size=_PAGE))
        wanted = [model for model in page.items if model.desired is RunState.RUNNING]
        return [model.name for model in wanted if await self._unsigned(namespace, model.target_spec)]

    async def problems(self, spec: Spec, *, name: str = "", launches: bool = True) -> list[Problem]:
        """Everything wrong with ``spec``: by the rules, and, if anything is launched from it, by what its backend
        finds on this machine."""
        found = spec_problems(spec, name)
        if launches:
            backend = self._backends[spec.backend]
            named = {p.path for p in found}
            found += [p for p in await backend.check(spec) if p.path not in named]
            found += _too_many(spec, await backend.inventory()) if not found else []
        return [Problem(f"spec.{p.path}" if p.path else "spec", p.code, p.message) for p in found]

    async def _validate(
        self, namespace: str, name: str, spec: Spec, found: Sequence[Problem], *, launches: bool = True
    ) -> None:
        named = {p.path for p in found}
        more = await self.problems(spec, name=name, launches=launches)
        problems = [*found, *(p for p in more if p.path not in named)]
        problems += await self._tenant_problems(namespace, spec)
        problems += await self._unsigned(namespace, spec) if launches else []
        if problems:
            raise InvalidRequest(problems)

    async def _arm_problems(
        self, namespace: str, spec: Spec, before: Spec | None, viewer: Principal | None
    ) -> list[Problem]:
        """The models that ``spec`` newly sends requests to and that are not there for the ``viewer``, or not to be
        asked by it: whoever may call the model would be answered by them."""
        if viewer is None or viewer.sight is None:
            return []
        had = [] if before is None else _arms(before)
        found: list[Problem] = []
        for kind, name in _arms(spec):
            if (kind, name) not in had and not await self._may_ask(viewer, namespace, name):
                index = _arms(spec).index((kind, name))
                index -= len(spec.traffic.split) if kind == "shadow" else 0
                message = no_model(namespace, name).message
                found.append(Problem(f"spec.traffic.{kind}[{index}].model", "not_found", message))
        return found

    async def _may_ask(self, viewer: Principal, namespace: str, name: str) -> bool:
        if not viewer.may(Permission.INFER, namespace, name):
            return False
        model = await self._store.get_model(namespace, name)
        if model is None:
            # An arm may be named before it is deployed, but only by who would see it whatever its groups: nobody else
            # can be told apart what is absent and what is hidden.
            return viewer.may(Permission.EDIT, namespace, name)
        return viewer.sees(namespace, name, model.spec.groups)

    async def _tenant_problems(self, namespace: str, spec: Spec) -> list[Problem]:
        """What its namespace may not use, and what could never run by its quota, however long it waited."""
        known = await self._store.get_namespace(namespace)
        if known is None:
            return []
        off = [replace(p, path=f"spec.{p.path}") for p in forbidden(known.features, spec)]
        return off + self._quota_problems(known, spec)

    @staticmethod
    def _quota_problems(known: Namespace, spec: Spec) -> list[Problem]:
        each = amount_of(spec.resources)
        if not each:
            return []
        fields = {"devices": "gpus", "memory": "memory", "cpu": "cpu"}
        message = f"One instance needs more than the whole quota of namespace {known.name}."
        left = left_of(known.quota, NOTHING)
        return [Problem(f"spec.resources.{fields[k]}", "exceeds_quota", message) for k in each.short_of(left)]

    def _asked(self, caller: Caller) -> Asked:
        return Asked(
            actor=caller.actor, reason=caller.reason, at=self._clock(), operation_id=f"op-{secrets.token_hex(8)}"
        )


def _arms(spec: Spec) -> list[tuple[str, str]]:
    split = [("split", arm.model) for arm in spec.traffic.split]
    return split + [("shadow", arm.model) for arm in spec.traffic.shadow]


def _launches(model: Model, spec: Spec) -> bool:
    """Whether the update launches anything: of a model that runs, a file that is gone meanwhile is no reason to
    refuse a new description."""
    return commands.replaces(model, spec) or spec.base > model.spec.base


def _too_many(spec: Spec, inventory: Inventory) -> list[Problem]:
    """More than the whole site has, so that it would wait for ever."""
    least = amount_of(spec.resources).times(spec.replicas.min)
    short = least.short_of(inventory.total)
    if not short:
        return []
    kinds = {"devices": "GPUs", "memory": "memory", "cpu": "cores"}
    what = " and ".join(kinds[kind] for kind in short)
    message = f"{spec.replicas.min} instances need more {what} than this machine has: they could never all run."
    return [Problem("replicas.min", "exceeds_machine", message)]


def _named(refs: list[ModelRef], names: Sequence[str], namespace: str | None) -> tuple[list[ModelRef], list[Bulk]]:
    """Those of ``refs`` that are named (no name: all), and what is to be said of names that are not among them."""
    if not names:
        return refs, []
    where = f"in namespace {namespace!r} with these labels" if namespace else "with these labels in any namespace"
    known = {ref.name for ref in refs}
    missing = [
        Bulk(ModelRef("", namespace or "", name), None, NotFound(f"There is no model {name!r} {where}."))
        for name in dict.fromkeys(names)
        if name not in known
    ]
    return [ref for ref in refs if ref.name in names], missing


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
