"""The blocking client. :mod:`modelyard.client.aio` is its twin for asyncio; a test holds them alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
import msgspec

from modelyard.client import access_calls, access_types, calls, site_types, tensors, types
from modelyard.client.errors import InvalidRequest, ModelyardError, NotRunning
from modelyard.client.locate import Location, locate
from modelyard.client.sync_access import ApiKeys, Members
from modelyard.client.sync_alerts import Alerts, Webhooks
from modelyard.client.sync_audit import Audit
from modelyard.client.sync_bulk import Bulk
from modelyard.client.sync_cache import Cache
from modelyard.client.sync_models import Models
from modelyard.client.sync_policies import Policies
from modelyard.client.sync_registry import Registry
from modelyard.client.sync_schedules import Schedules
from modelyard.client.sync_signing import Keys
from modelyard.client.sync_transfers import Transfers
from modelyard.client.waiting import OperationWait, Patience

T = TypeVar("T")
R = TypeVar("R")


class Modelyard:
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
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._given = (url, token, home, ca_file)
        self._place = place = locate(*self._given)
        self.url = place.url
        self.home = place.home
        self.namespace = namespace
        self._transport = transport
        self._http = self._reaching(place)
        self._metadata: dict[tuple[str, str, str], types.ModelMetadata] = {}
        self.models = Models(self)
        self.registry = Registry(self)
        self.cache = Cache(self)
        self.schedules = Schedules(self)
        self.bulk = Bulk(self)
        self.keys = Keys(self)
        self.members = Members(self)
        self.api_keys = ApiKeys(self)
        self.policies = Policies(self)
        self.alerts = Alerts(self)
        self.audit = Audit(self)
        self.webhooks = Webhooks(self)
        self.operations = Operations(self)
        self.transfers = Transfers(self)
        self.namespaces = Namespaces(self)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def predict(
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
            self._metadata[key] = self.metadata(model, namespace=namespace, version=version)
        request = tensors.request(inputs, self._metadata[key])
        try:
            return tensors.Prediction(self.infer(model, request, namespace=namespace, version=version, timeout=timeout))
        except InvalidRequest:
            # The signature may have changed with an update; the next call asks for it again.
            del self._metadata[key]
            raise

    def infer(
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
        return self.send(calls.infer(namespace or self.namespace, model, version, body, timeout))

    def metadata(
        self, model: str, *, namespace: str | None = None, version: str | int | None = None
    ) -> types.ModelMetadata:
        """The model's signature: its inputs and outputs."""
        return self.send(calls.model_metadata(namespace or self.namespace, model, version))

    def events(
        self, *, namespace: str | None = None, model: str | None = None, page_size: int | None = None
    ) -> Iterator[types.Event]:
        """Events of all models, or those that match; newest first, page after page."""
        return self.pages(calls.list_events(namespace, model, page_size))

    def watch(
        self,
        *,
        namespace: str | None = None,
        model: str | None = None,
        after: int | None = None,
        patience: float = 30.0,
    ) -> Iterator[types.Event]:
        """Events of all models, or those that match, as they happen; after the event with id ``after`` if
        it is given. A broken stream is resumed where it broke, for ``patience`` seconds at most."""
        patient = Patience(patience, self.url)
        while True:
            broken: Exception | None = None
            try:
                with self.stream(calls.watch_events(namespace, model, after)) as source:
                    for message in source:
                        patient.renew()
                        if message.data:
                            event = types.parse(types.Event, message.json())
                            after = event.id
                            yield event
            except (httpx2.TransportError, ModelyardError) as error:
                broken = error
            time.sleep(patient.pause(broken))

    def capacity(self, *, site: str | None = None) -> Sequence[site_types.SiteCapacity]:
        """What each site has, who holds it and who waits for it."""
        return self.send(calls.capacity(site))

    def examine(self) -> Sequence[site_types.Finding]:
        """What belongs to nothing any more: processes, folders, sockets, rows."""
        return self.send(calls.examine())

    def clear(self, findings: Sequence[site_types.Finding] | None = None) -> Sequence[site_types.Finding]:
        """Clear these (None: all that is found), and say of each whether it is gone."""
        return self.send(calls.clear(findings))

    def me(self) -> access_types.Me:
        """Who the server takes the caller for, and what it may do where."""
        return self.send(access_calls.me())

    def sign_in_link(self) -> access_types.SignInLink:
        """A link that signs a browser in as the caller, once, within ten minutes."""
        return self.send(access_calls.sign_in_link())

    def version(self) -> dict[str, Any]:
        return self.send(calls.version())

    def health(self) -> dict[str, Any]:
        return self.send(calls.health())

    def send(self, call: calls.Call[R]) -> R:
        """Send one call, again where that is safe, and give its result."""
        self._find()
        attempts = calls.Attempts(call, self.url)
        while True:
            try:
                response = self._http.request(
                    call.method, call.path, params=call.params, headers=call.headers, content=call.content,
                    timeout=call.timeout,
                )  # fmt: skip
                pause = attempts.away(response)
            except httpx2.TransportError as error:
                pause = attempts.lost(error)
            else:
                if pause is None:
                    return calls.read(call, response)
            time.sleep(pause)

    def pages(self, call: calls.Call[types.Page[R]]) -> Iterator[R]:
        while True:
            page = self.send(call)
            yield from page.items
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

    def _reaching(self, place: Location) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {place.token}"} if place.token else {}
        # trust_env=False: a proxy of the environment has no business between us and this machine.
        return httpx2.Client(
            base_url=place.url, headers=headers, transport=self._transport, trust_env=False, verify=place.trust()
        )

    @contextmanager
    def stream(self, call: calls.Call[Any]) -> Generator[httpx2.EventSource]:
        """Send one call, once, and read what it answers as server-sent events."""
        self._find()
        request = self._http.stream(
            call.method, call.path, params=call.params, timeout=call.timeout,
            headers={**call.headers, "Accept": "text/event-stream"},
        )  # fmt: skip
        with request as response:
            if response.status_code != 200:
                response.read()
                calls.check(response)
            yield httpx2.EventSource(response)

    def lines(self, call: calls.Call[Any]) -> Iterator[str]:
        """Send one call, once, and read the lines that it answers with."""
        self._find()
        request = self._http.stream(
            call.method, call.path, params=call.params, timeout=call.timeout, headers=call.headers
        )
        with request as response:
            if response.status_code != 200:
                response.read()
                calls.check(response)
            yield from response.iter_lines()


class Operations:
    """The records of long-running requests."""

    def __init__(self, client: Modelyard) -> None:
        self._client = client

    def get(self, operation_id: str) -> types.Operation:
        return self._client.send(calls.get_operation(operation_id))

    def list(
        self, *, namespace: str | None = None, model: str | None = None, done: bool | None = None,
        page_size: int | None = None,
    ) -> Iterator[types.Operation]:  # fmt: skip
        """Newest first, page after page."""
        return self._client.pages(calls.list_operations(namespace, model, done, page_size))

    def wait(
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
            wait.seen(self._client.send(wait.call()))
        return wait.result()

    def cancel(self, operation_id: str, *, running: bool = False) -> types.Operation:
        """``running``: of one on many models, cancel what runs too, not only what has not begun."""
        return self._client.send(calls.cancel_operation(operation_id, running))


class Namespaces:
    """Projects or tenants: what models are in."""

    def __init__(self, client: Modelyard) -> None:
        self._client = client

    def create(self, name: str, *, description: str = "", quota: Mapping[str, Any] | None = None) -> types.Namespace:
        """``quota`` as in :meth:`set_quota`."""
        return self._client.send(calls.create_namespace(name, description, quota))

    def set_quota(self, name: str, quota: Mapping[str, Any]) -> types.Namespace:
        """What its instances may hold at a time: ``cpu``, ``memory``, ``gpus``. What is left out stays, None lifts."""
        return self._client.send(calls.set_quota(name, quota))

    def update(
        self, name: str, *, description: str | None = None, features: Mapping[str, bool | str | None] | None = None,
        quota: Mapping[str, Any] | None = None,
    ) -> types.Namespace:  # fmt: skip
        """What is left out stays; a feature that is None goes back to its default."""
        return self._client.send(calls.update_namespace(name, description, features, quota))

    def get(self, name: str) -> types.Namespace:
        return self._client.send(calls.get_namespace(name))

    def list(self) -> list[types.Namespace]:
        return self._client.send(calls.list_namespaces())

    def delete(self, name: str) -> None:
        """Refused while it holds models."""
        self._client.send(calls.delete_namespace(name))
