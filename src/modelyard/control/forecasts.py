"""Forecasts of commands: each refuses what the command would refuse, and says what it would come to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from modelyard.control.capacity import CapacityViews
from modelyard.control.checks import SpecChecks
from modelyard.control.forecast import Forecast, forecast_start, forecast_update
from modelyard.control.gate import Gate
from modelyard.control.ports import Store
from modelyard.control.service import ModelService
from modelyard.domain import commands, states
from modelyard.domain.access import Permission, Principal
from modelyard.domain.errors import AlreadyExists, NotFound, Problem
from modelyard.domain.model import Model, ModelRef
from modelyard.domain.names import name_problem
from modelyard.domain.spec import Spec
from modelyard.domain.states import Command, RunState, State


class Forecasts:
    """What commands on models would come to, were they given now."""

    def __init__(
        self, store: Store, models: ModelService, checks: SpecChecks, capacity: CapacityViews,
        clock: Callable[[], datetime], *, site: str = "", gate: Gate | None = None,
    ) -> None:  # fmt: skip
        self._store = store
        self._models = models
        self._checks = checks
        self._capacity = capacity
        self._clock = clock
        self._site = site
        self._gate = gate

    async def create(
        self, namespace: str, name: str, spec: Spec, desired: RunState, viewer: Principal | None,
        found: Sequence[Problem] = (),
    ) -> Forecast:  # fmt: skip
        """Raises what :meth:`ModelService.create` would."""
        if viewer is not None:
            viewer.demand(Permission.EDIT, namespace, name)
        problem = name_problem("name", name)
        found = [
            *found,
            *([problem] if problem else []),
            *await self._checks.arm_problems(namespace, spec, None, viewer),
        ]
        await self._checks.validate(namespace, name, spec, found)
        if await self._store.get_namespace(namespace) is None:
            raise NotFound(f"There is no namespace {namespace!r}.")
        ref = ModelRef("", namespace, name)
        if await self._store.get_model(namespace, name) is not None:
            raise AlreadyExists(f"The model {ref} exists already. Update it, or choose another name.")
        if self._gate is not None:
            await self._gate.check_launch(namespace, name, spec, None, begins=desired is RunState.RUNNING)
        forecast = forecast_start(ref, spec, await self._capacity.room(self._site), self._clock())
        return forecast if desired is RunState.RUNNING else replace(forecast, count=0)

    async def start(self, namespace: str, name: str, viewer: Principal | None) -> Forecast:
        """Raises what :meth:`ModelService.start` would."""
        model = await self._models.get(namespace, name, viewer)
        if model.status.state is not State.QUEUED:
            states.decide(model.status.state, Command.START)
        await self._checks.admit(model)
        if self._gate is not None:
            begins = model.desired is RunState.STOPPED
            await self._gate.check_launch(namespace, name, model.target_spec, model, begins=begins)
        room = await self._capacity.room(model.site)
        return forecast_start(model.ref, model.target_spec, room, self._clock())

    async def update(
        self, namespace: str, name: str, revise: Callable[[Model], Awaitable[Spec]], viewer: Principal | None
    ) -> Forecast:
        """Raises what :meth:`ModelService.update` would, but for the acknowledgement, which the forecast asks for."""
        model = await self._models.get(namespace, name, viewer)
        spec = await revise(model)
        found = [
            *commands.update_problems(model, spec, acknowledge_restart=True),
            *await self._checks.arm_problems(namespace, spec, model.spec, viewer),
        ]
        await self._checks.validate(namespace, name, spec, found, launches=commands.launches(model, spec))
        if commands.replaces(model, spec):
            states.decide(model.status.state, Command.UPDATE)
        if self._gate is not None and commands.launches(model, spec):
            await self._gate.check_launch(namespace, name, spec, model, begins=False)
        return forecast_update(model, spec, await self._capacity.room(model.site), self._clock())
