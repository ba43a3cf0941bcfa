"""Forecasts of commands: each refuses what the command would refuse, and says what it would come to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from modelyard.control.caller import rehearse
from modelyard.control.capacity import CapacityViews
from modelyard.control.forecast import Forecast, forecast_start, forecast_update
from modelyard.control.ports import Store
from modelyard.control.service import ModelService
from modelyard.domain.access import Principal
from modelyard.domain.commands import Change
from modelyard.domain.errors import AlreadyExists, NotFound, Problem
from modelyard.domain.model import Model, ModelRef
from modelyard.domain.spec import Spec
from modelyard.domain.states import RunState, State


class Forecasts:
    """What commands on models would come to, were they given now."""

    def __init__(
        self, store: Store, models: ModelService, capacity: CapacityViews, clock: Callable[[], datetime], *,
        site: str = "",
    ) -> None:  # fmt: skip
        self._store = store
        self._models = models
        self._capacity = capacity
        self._clock = clock
        self._site = site

    async def create(
        self, namespace: str, name: str, spec: Spec, desired: RunState, viewer: Principal | None,
        found: Sequence[Problem] = (),
    ) -> Forecast:  # fmt: skip
        """Raises what :meth:`ModelService.create` would."""
        change = await rehearse(
            lambda caller: self._models.create(namespace, name, spec, desired, caller, found), viewer
        )
        if await self._store.get_namespace(namespace) is None:
            raise NotFound(f"There is no namespace {namespace!r}.")
        ref = ModelRef("", namespace, name)
        if await self._store.get_model(namespace, name) is not None:
            raise AlreadyExists(f"The model {ref} exists already. Update it, or choose another name.")
        forecast = forecast_start(ref, spec, await self._capacity.room(self._site), self._clock())
        count = forecast.count if desired is RunState.RUNNING else 0
        return replace(forecast, count=count, warnings=_warnings(change))

    async def start(self, namespace: str, name: str, viewer: Principal | None) -> Forecast:
        """Raises what :meth:`ModelService.start` would, but for a model that waits already."""
        model = await self._models.get(namespace, name, viewer)
        warnings: tuple[str, ...] = ()
        if model.status.state is not State.QUEUED:
            warnings = _warnings(await rehearse(lambda caller: self._models.start(namespace, name, caller), viewer))
        room = await self._capacity.room(model.site)
        return replace(forecast_start(model.ref, model.target_spec, room, self._clock()), warnings=warnings)

    async def update(
        self, namespace: str, name: str, revise: Callable[[Model], Awaitable[Spec]], viewer: Principal | None
    ) -> Forecast:
        """Raises what :meth:`ModelService.update` would, but for the acknowledgement, which the forecast asks for."""
        change = await rehearse(
            lambda caller: self._models.update(namespace, name, revise, caller, acknowledge_restart=True), viewer
        )
        model, after = change.before, change.after
        assert model is not None
        assert after is not None
        forecast = forecast_update(model, after.spec, await self._capacity.room(model.site), self._clock())
        return replace(forecast, warnings=_warnings(change))


def _warnings(change: Change) -> tuple[str, ...]:
    return change.operations[-1].warnings if change.operations else ()
