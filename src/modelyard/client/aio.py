"""The client for asyncio: as :mod:`modelyard.client.sync`, awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
import msgspec

from modelyard.client import access_calls, access_types, calls, site_types, tensors, types
from modelyard.client.aio_access import AsyncApiKeys, AsyncMembers
from modelyard.client.aio_alerts import AsyncAlerts, AsyncWebhooks
from modelyard.client.aio_audit import AsyncAudit
from modelyard.client.aio_bulk import AsyncBulk
from modelyard.client.aio_cache import AsyncCache
from modelyard.client.aio_models import AsyncModels
from modelyard.client.aio_policies import AsyncPolicies
from modelyard.client.aio_registry import AsyncRegistry
from modelyard.client.aio_schedules import AsyncSchedules
from modelyard.client.aio_signing import AsyncKeys
from modelyard.client.aio_transfers import AsyncTransfers
from modelyard.client.errors import InvalidRequest, ModelyardError, NotRunning
from modelyard.client.locate import Location, locate
from modelyard.client.waiting import OperationWait, Patience

T = TypeVar("T")
R = TypeVar("R")


class AsyncModelyard:
    """A Modelyard: ``models``, ``registry``, ``cache``, ``schedules``, ``transfers``, ``operations``, ``bulk``,
    ``namespaces``, :meth:`predict`, :meth:`watch`.

    URL and token are found as :mod:`modelyard.client.locate` says unless they are given. ``namespace``
    is the one that methods use when they are given none. ``ca_file`` is a PEM file of the certificates, or their
    authorities', that are trusted instead of the system's authorities. Requests that may safely be sent again are,
    while the control process is being restarted. Every method may raise a
    :class:`~modelyard.client.errors.ModelyardError`.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        home: str | os.PathLike[str] | None = None,
        *,
        namespace: str = calls.DEFAULT_NAMESPACE,
        ca_file: str | os.PathLike[str] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._given = (url, token, home, ca_file)
        self._place = place = locate(*self._given)
        self.url = place.url
        self.home = place.home
        self.namespace = namespace
        self._transport = transport
        self._http = self._reaching(place)
        self._metadata: dict[tuple[str, str, str], types.ModelMetadata] = {}
        self.models = AsyncModels(self)
        self.registry = AsyncRegistry(self)
        self.cache = AsyncCache(self)
        self.schedules = AsyncSchedules(self)
        self.bulk = AsyncBulk(self)
        self.keys = AsyncKeys(self)
        self.members = AsyncMembers(self)
        self.api_keys = AsyncApiKeys(self)
        self.policies = AsyncPolicies(self)
        self.alerts = AsyncAlerts(self)
        self.audit = AsyncAudit(self)
        self.webhooks = AsyncWebhooks(self)
        self.operations = AsyncOperations(self)
        self.transfers = AsyncTransfers(self)
        self.namespaces = AsyncNamespaces(self)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def predict(
        self,
        model: str,
        inputs: object,
        *,
        namespace: str | None = None,
        version: str | int | None = None,
        timeout: float | None = None,
    ) -> tensors.Prediction:
        """Ask a model. ``inputs``: a mapping from input name to numpy array or nested list, or the array
        or list alone for a model with one input. ``version`` is a generation; ``timeout`` in seconds
        (None: the model's own request timeout)."""
        namespace = namespace or self.namespace
        key = (namespace, model, str(version))
        if key not in self._metadata:
            self._metadata[key] = await self.metadata(model, namespace=namespace, version=version)
        request = tensors.request(inputs, self._metadata[key])
        try:
            return tensors.Prediction(
                await self.infer(model, request, namespace=namespace, version=version, timeout=timeout)
            )
        except InvalidRequest:
            # The signature may have changed with an update; the next call asks for it again.
            del self._metadata[key]
            raise

    async def infer(
        self,
        model: str,
        request: Mapping[str, Any] | bytes,
        *,
        namespace: str | None = None,
        version: str | int | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Send a V2 request as it is and give the V2 response as it comes."""
        body = request if isinstance(request, bytes) else msgspec.json.encode(request)
        return await self.send(calls.infer(namespace or self.namespace, model, version, body, timeout))

    async def metadata(
        self, model: str, *, namespace: str | None = None, version: str | int | None = None
    ) -> types.ModelMetadata:
        """The model's signature: its inputs and outputs."""
        return await self.send(calls.model_metadata(namespace or self.namespace, model, version))

    def events(
        self, *, namespace: str | None = None, model: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[types.Event]:
        """Events of all models, or those that match; newest first, page after page."""
        return self.pages(calls.list_events(namespace, model, page_size))

    async def watch(
        self,
        *,
        namespace: str | None = None,
        model: str | None = None,
        after: int | None = None,
        patience: float = 30.0,
    ) -> AsyncIterator[types.Event]:
        """Events of all models, or those that match, as they happen; after the event with id ``after`` if
        it is given. A broken stream is resumed where it broke, for ``patience`` seconds at most."""
        patient = Patience(patience, self.url)
        while True:
            broken: Exception | None = None
            try:
                async with self.stream(calls.watch_events(namespace, model, after)) as source:
                    async for message in source:
                        patient.renew()
                        if message.data:
                            event = types.parse(types.Event, message.json())
                            after = event.id
                            yield event
            except (httpx2.TransportError, ModelyardError) as error:
                broken = error
            await asyncio.sleep(patient.pause(broken))

    async def capacity(self, *, site: str | None = None) -> Sequence[site_types.SiteCapacity]:
        """What each site has, who holds it and who waits for it."""
        return await self.send(calls.capacity(site))

    async def examine(self) -> Sequence[site_types.Finding]:
        """What belongs to nothing any more: processes, folders, sockets, rows."""
        return await self.send(calls.examine())

    async def clear(self, findings: Sequence[site_types.Finding] | None = None) -> Sequence[site_types.Finding]:
        """Clear these (None: all that is found), and say of each whether it is gone."""
        return await self.send(calls.clear(findings))

    async def me(self) -> access_types.Me:
        """Who the server takes the caller for, and what it may do where."""
        return await self.send(access_calls.me())

    async def sign_in_link(self) -> access_types.SignInLink:
        """A link that signs a browser in as the caller, once, within ten minutes."""
        return await self.send(access_calls.sign_in_link())

    async def version(self) -> dict[str, Any]:
        return await self.send(calls.version())

    async def health(self) -> dict[str, Any]:
        return await self.send(calls.health())

    async def send(self, call: calls.Call[R]) -> R:
        """Send one call, again where that is safe, and give its result."""
        self._find()
        attempts = calls.Attempts(call, self.url)
        while True:
            try:
                response = await self._http.request(
                    call.method, call.path, params=call.params, headers=call.headers, content=call.content,
                    timeout=call.timeout,
                )  # fmt: skip
                pause = attempts.away(response)
            except httpx2.TransportError as error:
                pause = attempts.lost(error)
            else:
                if pause is None:
                    return calls.read(call, response)
            await asyncio.sleep(pause)

    async def pages(self, call: calls.Call[types.Page[R]]) -> AsyncIterator[R]:
        while True:
            page = await self.send(call)
            for item in page.items:
                yield item
            if not page.next_page_token:
                return
            call = calls.next_page(call, page.next_page_token)

    def _find(self) -> None:
        """Look again for what did not run when this client was made. Whoever else listens there now is not
        asked: raises NotRunning."""
        if self._place.is_known:
            return
        self._place = place = locate(*self._given)
        if not place.is_known:
            raise NotRunning(place.url)
        self.url = place.url
        self._http = self._reaching(place)

    def _reaching(self, place: Location) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {place.token}"} if place.token else {}
        # trust_env=False: a proxy of the environment has no business between us and this machine.
        return httpx2.AsyncClient(
            base_url=place.url, headers=headers, transport=self._transport, trust_env=False, verify=place.trust()
        )

    @asynccontextmanager
    async def stream(self, call: calls.Call[Any]) -> AsyncGenerator[httpx2.EventSource]:
        """Send one call, once, and read what it answers as server-sent events."""
        self._find()
        request = self._http.stream(
            call.method, call.path, params=call.params, timeout=call.timeout,
            headers={**call.headers, "Accept": "text/event-stream"},
        )  # fmt: skip
        async with request as response:
            if response.status_code != 200:
                await response.aread()
                calls.check(response)
            yield httpx2.EventSource(response)

    async def lines(self, call: calls.Call[Any]) -> AsyncIterator[str]:
        """Send one call, once, and read the lines that it answers with."""
        self._find()
        request = self._http.stream(
            call.method, call.path, params=call.params, timeout=call.timeout, headers=call.headers
        )
        async with request as response:
            if response.status_code != 200:
                await response.aread()
                calls.check(response)
            async for line in response.aiter_lines():
                yield line


class AsyncOperations:
    """The records of long-running requests."""

    def __init__(self, client: AsyncModelyard) -> None:
        self._client = client

    async def get(self, operation_id: str) -> types.Operation:
        return await self._client.send(calls.get_operation(operation_id))

    def list(
        self, *, namespace: str | None = None, model: str | None = None, done: bool | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[types.Operation]:  # fmt: skip
        """Newest first, page after page."""
        return self._client.pages(calls.list_operations(namespace, model, done, page_size))

    async def wait(
        self,
        operation: types.Operation | str,
        *,
        timeout: float | None = None,
        on_change: Callable[[types.Operation], None] | None = None,
    ) -> types.Operation:
        """The operation once it has succeeded. ``on_change`` is called with it at first and whenever a
        step is new.

        Raises:
            OperationFailed: it failed or was cancelled.
            TimedOut: it is not done after ``timeout`` seconds; it goes on.
        """
        wait = OperationWait(operation, timeout, on_change)
        while not wait.done:
            wait.seen(await self._client.send(wait.call()))
        return wait.result()

    async def cancel(self, operation_id: str, *, running: bool = False) -> types.Operation:
        """``running``: of one on many models, cancel what runs too, not only what has not begun."""
        return await self._client.send(calls.cancel_operation(operation_id, running))


class AsyncNamespaces:
    """Projects or tenants: what models are in."""

    def __init__(self, client: AsyncModelyard) -> None:
        self._client = client

    async def create(
        self, name: str, *, description: str = "", quota: Mapping[str, Any] | None = None
    ) -> types.Namespace:
        """``quota`` as in :meth:`set_quota`."""
        return await self._client.send(calls.create_namespace(name, description, quota))

    async def set_quota(self, name: str, quota: Mapping[str, Any]) -> types.Namespace:
        """What its instances may hold at a time: ``cpu``, ``memory``, ``gpus``. What is left out stays, None lifts."""
        return await self._client.send(calls.set_quota(name, quota))

    async def update(
        self, name: str, *, description: str | None = None, features: Mapping[str, bool | str | None] | None = None,
        quota: Mapping[str, Any] | None = None,
    ) -> types.Namespace:  # fmt: skip
        """What is left out stays; a feature that is None goes back to its default."""
        return await self._client.send(calls.update_namespace(name, description, features, quota))

    async def get(self, name: str) -> types.Namespace:
        return await self._client.send(calls.get_namespace(name))

    async def list(self) -> list[types.Namespace]:
        return await self._client.send(calls.list_namespaces())

    async def delete(self, name: str) -> None:
        """Refused while it holds models."""
        await self._client.send(calls.delete_namespace(name))
