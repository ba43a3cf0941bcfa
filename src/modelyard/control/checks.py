"""What is to be known of a spec before it is acted on: what its source stands for, what is wrong with it, and whether
anything may be launched from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from modelyard.backends.port import Backend
from modelyard.control.ports import ModelQuery, Resolved, Sources, Store
from modelyard.domain.access import Permission, Principal, no_model, no_registered_model
from modelyard.domain.capacity import NOTHING, Inventory, amount_of, left_of
from modelyard.domain.errors import InvalidRequest, Problem, Refused
from modelyard.domain.features import forbidden
from modelyard.domain.model import Model, Namespace
from modelyard.domain.names import (
    FileSource,
    InvalidReference,
    Registered,
    RegisteredVersion,
    parse_reference,
)
from modelyard.domain.signing import launch_refusal
from modelyard.domain.spec import BackendName, Engine, Spec
from modelyard.domain.states import RunState
from modelyard.domain.validation import spec_problems

_PAGE = 1000


class SpecChecks:
    """``sources`` are the registry's; without it every source is taken as it is."""

    def __init__(
        self, store: Store, backends: Mapping[BackendName, Backend], *, sources: Sources | None = None
    ) -> None:
        self._store = store
        self._backends = backends
        self._sources = sources

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
        return [model.name for model in wanted if await self.unsigned(namespace, model.target_spec)]

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

    async def validate(
        self, namespace: str, name: str, spec: Spec, found: Sequence[Problem], *, launches: bool = True
    ) -> None:
        named = {p.path for p in found}
        more = await self.problems(spec, name=name, launches=launches)
        problems = [*found, *(p for p in more if p.path not in named)]
        problems += await self._tenant_problems(namespace, spec, launches=launches)
        problems += await self.unsigned(namespace, spec) if launches else []
        if problems:
            raise InvalidRequest(problems)

    async def arm_problems(
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

    async def _tenant_problems(self, namespace: str, spec: Spec, *, launches: bool) -> list[Problem]:
        """What its namespace may not use, what could never run by its quota, however long it waited, and, if anything
        is launched from it, what the quota could not count."""
        known = await self._store.get_namespace(namespace)
        if known is None:
            return []
        off = [replace(p, path=f"spec.{p.path}") for p in forbidden(known.features, spec)]
        uncounted = _uncounted(known, spec) if launches else []
        return off + self._quota_problems(known, spec) + [replace(p, path=f"spec.{p.path}") for p in uncounted]

    @staticmethod
    def _quota_problems(known: Namespace, spec: Spec) -> list[Problem]:
        each = amount_of(spec.resources)
        if not each:
            return []
        fields = {"devices": "gpus", "memory": "memory", "cpu": "cpu"}
        message = f"One instance needs more than the whole quota of namespace {known.name}."
        left = left_of(known.quota, NOTHING)
        return [Problem(f"spec.resources.{fields[k]}", "exceeds_quota", message) for k in each.short_of(left)]

    async def admit(self, model: Model) -> None:
        """Raises Refused where nothing may be launched from what the model is made of, its namespace may no longer use
        that, or the namespace's quota could not count it."""
        known = await self._store.get_namespace(model.namespace)
        if known is not None and (off := forbidden(known.features, model.target_spec)):
            raise Refused("feature_off", " ".join(problem.message for problem in off), ["update", "stop"])
        if known is not None and (uncounted := _uncounted(known, model.target_spec)):
            raise Refused("memory_required", " ".join(problem.message for problem in uncounted), ["update", "stop"])
        if problems := await self.unsigned(model.namespace, model.target_spec):
            raise launch_refusal(problems, ["update", "stop"])

    async def unsigned(self, namespace: str, spec: Spec) -> list[Problem]:
        """What of ``spec`` would have to be signed in the namespace, and is not."""
        if self._sources is None:
            return []
        return [replace(p, path=f"spec.{p.path}") for p in await self._sources.problems(namespace, spec)]


def _uncounted(known: Namespace, spec: Spec) -> list[Problem]:
    """Memory that nothing bounds would slip through a quota of memory."""
    if known.quota.memory is None or spec.resources.memory is not None:
        return []
    message = (
        f"Namespace {known.name} has a quota of memory, and without a limit an instance may take any: set "
        "resources.memory."
    )
    return [Problem("resources.memory", "required", message)]


def _arms(spec: Spec) -> list[tuple[str, str]]:
    split = [("split", arm.model) for arm in spec.traffic.split]
    return split + [("shadow", arm.model) for arm in spec.traffic.shadow]


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
