"""The models, for asyncio: as :mod:`modelyard.client.sync_models`, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec

from modelyard.client import calls, history_types, model_calls, traffic_types, types

if TYPE_CHECKING:
    from modelyard.client.aio import AsyncModelyard


class AsyncModels:
    """The models; ``namespace`` defaults to the client's, ``"*"`` lists those of all."""

    def __init__(self, client: AsyncModelyard) -> None:
        self._client = client

    def _ns(self, namespace: str | None) -> str:
        return namespace or self._client.namespace

    async def create(
        self, name: str, spec: Mapping[str, Any], *, namespace: str | None = None, desired: str = "running",
        reason: str = "",
    ) -> types.Operation:  # fmt: skip
        """Create and start a model, or only create it with ``desired="stopped"``."""
        return await self._client.send(model_calls.create_model(self._ns(namespace), name, spec, desired, reason))

    async def forecast_create(
        self, name: str, spec: Mapping[str, Any], *, namespace: str | None = None, desired: str = "running"
    ) -> types.Forecast:
        """What :meth:`create` would come to; nothing is created."""
        return await self._client.send(model_calls.forecast_create(self._ns(namespace), name, spec, desired))

    async def get(self, name: str, *, namespace: str | None = None) -> types.Model:
        return await self._client.send(model_calls.get_model(self._ns(namespace), name))

    def list(
        self, *, namespace: str | None = None, state: Sequence[str] = (), engine: str | None = None,
        label: Mapping[str, str] | None = None, search: str | None = None, sort: str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[types.Model]:  # fmt: skip
        """All models that match, page after page."""
        return self._client.pages(
            model_calls.list_models(
                self._ns(namespace), state=state, engine=engine, label=label, search=search, sort=sort,
                page_size=page_size,
            )
        )  # fmt: skip

    async def update(
        self, name: str, spec: Mapping[str, Any], *, namespace: str | None = None, reason: str = "",
        version: int | None = None, acknowledge_restart: bool = False,
    ) -> types.Operation:  # fmt: skip
        """Change what ``spec`` names and leave the rest (a JSON merge patch: None removes). With ``version``
        only if the model still is at that version. A change of ``container`` restarts instances: it needs
        ``acknowledge_restart``."""
        return await self._client.send(
            model_calls.patch_model(self._ns(namespace), name, spec, reason, version, acknowledge_restart)
        )

    async def replace(
        self, name: str, spec: Mapping[str, Any], *, namespace: str | None = None, reason: str = "",
        version: int | None = None, acknowledge_restart: bool = False,
    ) -> types.Operation:  # fmt: skip
        """Make ``spec`` the whole spec."""
        return await self._client.send(
            model_calls.replace_model(self._ns(namespace), name, spec, reason, version, acknowledge_restart)
        )

    async def forecast_update(
        self, name: str, spec: Mapping[str, Any], *, namespace: str | None = None
    ) -> types.Forecast:
        """What :meth:`update` would come to; nothing is changed."""
        return await self._client.send(model_calls.forecast_patch(self._ns(namespace), name, spec))

    async def forecast_replace(
        self, name: str, spec: Mapping[str, Any], *, namespace: str | None = None
    ) -> types.Forecast:
        """What :meth:`replace` would come to; nothing is changed."""
        return await self._client.send(model_calls.forecast_replace(self._ns(namespace), name, spec))

    async def delete(
        self, name: str, *, namespace: str | None = None, force: bool = False, timeout: float | str | None = None,
        reason: str = "", override: bool = False,
    ) -> types.Operation:  # fmt: skip
        """Stop a model as :meth:`stop` does, and forget it."""
        return await self._client.send(
            model_calls.delete_model(self._ns(namespace), name, force, timeout, reason, override)
        )

    async def start(
        self, name: str, *, namespace: str | None = None, restore_autoscaling: bool = True, reason: str = ""
    ) -> types.Operation:
        """Start a stopped model; without ``restore_autoscaling`` nothing scales it until the next start."""
        return await self._client.send(model_calls.start_model(self._ns(namespace), name, restore_autoscaling, reason))

    async def forecast_start(self, name: str, *, namespace: str | None = None) -> types.Forecast:
        """What :meth:`start` would come to; nothing is started."""
        return await self._client.send(model_calls.forecast_start(self._ns(namespace), name))

    async def stop(
        self, name: str, *, namespace: str | None = None, force: bool = False, timeout: float | str | None = None,
        reason: str = "", override: bool = False,
    ) -> types.Operation:  # fmt: skip
        """Finish what is in flight, for ``timeout`` (seconds or ``"30s"``) at most, then end every instance;
        with ``force`` end them now. ``override``: though a policy protects it, with a ``reason``."""
        return await self._client.send(
            model_calls.stop_model(self._ns(namespace), name, force, timeout, reason, override)
        )

    async def stop_many(
        self, names: Sequence[str] = (), *, label: Mapping[str, str] | None = None, all: bool = False,
        namespace: str | None = None, force: bool = False, timeout: float | str | None = None, reason: str = "",
        override: bool = False,
    ) -> Sequence[types.Stopped]:  # fmt: skip
        """Stop the models of these ``names``, or all with these labels, or ``all``: one answer a model."""
        return await self._client.send(
            model_calls.stop_models(self._ns(namespace), names, label, all, force, timeout, reason, override)
        )

    async def restart(self, name: str, *, namespace: str | None = None, reason: str = "") -> types.Operation:
        """New instances of the same spec."""
        return await self._client.send(model_calls.restart_model(self._ns(namespace), name, reason))

    async def redeploy(self, name: str, *, namespace: str | None = None, reason: str = "") -> types.Operation:
        """New instances of the same spec, by a rollout."""
        return await self._client.send(model_calls.redeploy_model(self._ns(namespace), name, reason))

    async def rollback(
        self, name: str, generation: int | None = None, *, namespace: str | None = None, reason: str = ""
    ) -> types.Operation:
        """Go back to the spec of an earlier revision (None: the newest before this one that was not given up)."""
        return await self._client.send(model_calls.roll_back(self._ns(namespace), name, generation, reason))

    async def pause_rollout(self, name: str, *, namespace: str | None = None, reason: str = "") -> types.Status:
        """Launch and end nothing for it until it is resumed."""
        return await self._client.send(model_calls.steer_rollout(self._ns(namespace), name, "pause", reason))

    async def resume_rollout(self, name: str, *, namespace: str | None = None, reason: str = "") -> types.Status:
        """Go on where it was paused."""
        return await self._client.send(model_calls.steer_rollout(self._ns(namespace), name, "resume", reason))

    async def cancel_rollout(self, name: str, *, namespace: str | None = None, reason: str = "") -> types.Status:
        """Go back to the last good revision."""
        return await self._client.send(model_calls.steer_rollout(self._ns(namespace), name, "cancel", reason))

    async def force_rollout(self, name: str, *, namespace: str | None = None, reason: str = "") -> types.Status:
        """Go forward whatever happens."""
        return await self._client.send(model_calls.steer_rollout(self._ns(namespace), name, "force", reason))

    async def promote_rollout(self, name: str, *, namespace: str | None = None, reason: str = "") -> types.Status:
        """The canary is good: replace the rest."""
        return await self._client.send(model_calls.steer_rollout(self._ns(namespace), name, "promote", reason))

    async def abort_rollout(self, name: str, *, namespace: str | None = None, reason: str = "") -> types.Status:
        """The canary is not: go back to the last good revision."""
        return await self._client.send(model_calls.steer_rollout(self._ns(namespace), name, "abort", reason))

    async def set_rollout_percent(
        self, name: str, percent: int, *, namespace: str | None = None, reason: str = ""
    ) -> types.Status:
        """Send so many per cent of the requests to the new revision."""
        return await self._client.send(model_calls.set_percent(self._ns(namespace), name, percent, reason))

    async def traffic(self, name: str, *, namespace: str | None = None) -> traffic_types.Traffic:
        """The arms that requests are shared among, compared with each other."""
        return await self._client.send(model_calls.model_traffic(self._ns(namespace), name))

    async def metrics(
        self, name: str, *, namespace: str | None = None, start: datetime | None = None, end: datetime | None = None,
        step: float | str | None = None,
    ) -> history_types.ModelHistory:  # fmt: skip
        """Its metrics from ``start`` (an hour before the end) to ``end`` (now), ``step`` seconds apart (what makes some
        hundred points). The times must be aware ones."""
        return await self._client.send(model_calls.model_metrics(self._ns(namespace), name, start, end, step))

    async def terminate(
        self, name: str, instance: str, *, namespace: str | None = None, force: bool = False,
        timeout: float | str | None = None, reason: str = "",
    ) -> types.Operation:  # fmt: skip
        """End one instance; another takes its place."""
        call = model_calls.terminate_instance(self._ns(namespace), name, instance, force, timeout, reason)
        return await self._client.send(call)

    async def status(self, name: str, *, namespace: str | None = None) -> types.Status:
        return await self._client.send(model_calls.model_status(self._ns(namespace), name))

    async def instances(self, name: str, *, namespace: str | None = None) -> Sequence[types.Instance]:
        return await self._client.send(model_calls.model_instances(self._ns(namespace), name))

    async def revisions(self, name: str, *, namespace: str | None = None) -> Sequence[types.Revision]:
        """Newest first."""
        return await self._client.send(model_calls.model_revisions(self._ns(namespace), name))

    async def revision(self, name: str, generation: int, *, namespace: str | None = None) -> types.Revision:
        return await self._client.send(model_calls.model_revision(self._ns(namespace), name, generation))

    async def diff(
        self, name: str, generation: int, against: int | None = None, *, namespace: str | None = None
    ) -> types.Diff:
        """What a revision has changed, compared with another (None: the one before)."""
        return await self._client.send(model_calls.revision_diff(self._ns(namespace), name, generation, against))

    def events(
        self, name: str, *, namespace: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[types.Event]:
        """Newest first, page after page."""
        return self._client.pages(model_calls.model_events(self._ns(namespace), name, page_size))

    async def logs(
        self, name: str, *, namespace: str | None = None, instance: str | None = None, tail: int | None = None,
        follow: bool = False,
    ) -> AsyncIterator[types.LogLine]:  # fmt: skip
        """The last ``tail`` lines of one instance or of all; with ``follow`` new ones as they come."""
        call = model_calls.model_logs(self._ns(namespace), name, instance, tail, follow)
        if not follow:
            for line in await self._client.send(call):
                yield line
            return
        try:
            async with self._client.stream(call) as source:
                async for message in source:
                    if message.event == "line":
                        yield msgspec.convert(message.json(), types.LogLine)
        except httpx2.TransportError as error:
            raise calls.connection_error(error, self._client.url) from error
