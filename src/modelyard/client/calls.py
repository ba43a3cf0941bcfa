"""Every request of the API as a value, and what becomes of its answer: no I/O, shared by both clients.

Those on models are in :mod:`modelyard.client.model_calls`.
"""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from modelyard.client import site_types, types
from modelyard.client.errors import NotRunning, TimedOut, Unreachable, Untrusted, api_error

T = TypeVar("T")

API = "/api/v1"
DEFAULT_NAMESPACE = "default"
EVERYWHERE = "*"
# The server answers a wait this long after it began, at the latest; the client reads a little longer.
WAIT = 30.0
READ = 60.0
_CONNECT = 5.0

_ATTEMPTS = 6
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request. ``read`` turns what ``decode`` makes of the answer's body into the result; ``repeatable`` says that
    sending it twice does no more than sending it once; ``read_timeout`` is in seconds (None: no limit)."""

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, str | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    repeatable: bool = True
    read_timeout: float | None = READ
    decode: Callable[[bytes], Any] = msgspec.json.decode

    @property
    def timeout(self) -> httpx2.Timeout:
        return httpx2.Timeout(self.read_timeout, connect=_CONNECT)


class Attempts(Generic[T]):
    """What to do about each outcome of sending one call: give its result, send it again, or give up."""

    def __init__(self, call: Call[T], url: str) -> None:
        self._call = call
        self._url = url
        self._failed = 0

    def lost(self, error: httpx2.TransportError) -> float:
        """Seconds to wait before sending the call again.

        Raises:
            ModelyardError: it is not to be sent again.
        """
        final = connection_error(error, self._url)
        if isinstance(final, (NotRunning, Untrusted)) or not self._call.repeatable:
            raise final from error
        pause = self._pause()
        if pause is None:
            raise final from error
        return pause

    def away(self, response: httpx2.Response) -> float | None:
        """Seconds to wait before sending the call again, None when ``response`` is the answer to it."""
        if response.status_code != 503 or not self._call.repeatable:
            return None
        # Only the control process being away is worth the wait: it is being restarted. A model that does
        # not serve answers 503 as well, and goes on doing so.
        if problem_code(response) != "control_unavailable":
            return None
        return self._pause()

    def _pause(self) -> float | None:
        self._failed += 1
        if self._failed >= _ATTEMPTS:
            return None
        return min(_FIRST_PAUSE * 2.0 ** (self._failed - 1), _LONGEST_PAUSE)


def connection_error(error: httpx2.TransportError, url: str) -> NotRunning | TimedOut | Unreachable | Untrusted:
    if isinstance(error, httpx2.ConnectError):
        cause = _tls_error(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Untrusted(url, cause)
        if cause is not None:
            return Unreachable(f"What listens at {url} does not speak TLS as this does: {cause.reason or cause}.")
        return NotRunning(url)
    if isinstance(error, httpx2.TimeoutException):
        return TimedOut(f"Modelyard at {url} did not answer in time.")
    return Unreachable(f"The connection to Modelyard at {url} broke: {error or type(error).__name__}.")


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def problem_code(response: httpx2.Response) -> str:
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return ""
    return str(body.get("code", "")) if isinstance(body, dict) else ""


def check(response: httpx2.Response) -> None:
    """Raise the error that a read ``response`` stands for, if it stands for one."""
    if response.status_code < 400:
        return
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        body = {"detail": f"{response.status_code} {response.reason_phrase}: {response.text[:200]}"}
    raise api_error(response.status_code, body, response.headers.get("x-request-id", ""))


def read(call: Call[T], response: httpx2.Response) -> T:
    """The result of a call from its answer, which must have been read."""
    check(response)
    try:
        return call.read(call.decode(response.content) if response.content else None)
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise Unreachable(f"{response.url} gave an answer that is none of Modelyard's: {error}") from error


def next_page(call: Call[types.Page[T]], token: str) -> Call[types.Page[T]]:
    return replace(call, params={**call.params, "page_token": token})


# ------------------------------------------------------------------------------------------- building


def get(path: str, read: Callable[[Any], T], timeout: float | None = READ, /, **params: object) -> Call[T]:
    return Call(method="GET", path=path, read=read, params=query(params), read_timeout=timeout)


def post(path: str, read: Callable[[Any], T], body: object, *, keyed: bool = True, **params: object) -> Call[T]:
    """With a key the server answers a repeated POST with what the first one did."""
    headers = {"Content-Type": "application/json"}
    if keyed:
        headers["Idempotency-Key"] = str(uuid.uuid4())
    content = msgspec.json.encode(body)
    return Call(
        method="POST", path=path, read=read, content=content, headers=headers, params=query(params), repeatable=keyed
    )


def write(
    method: str, path: str, read: Callable[[Any], T], body: object, version: int | None = None, **params: object
) -> Call[T]:
    headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
    if version is not None:
        headers["If-Match"] = f'"{version}"'
    # Writing the same spec twice changes nothing the second time, but with If-Match it would be refused.
    return Call(
        method=method, path=path, read=read, content=msgspec.json.encode(body), headers=headers,
        params=query(params), repeatable=version is None,
    )  # fmt: skip


def query(values: Mapping[str, object]) -> dict[str, str | list[str]]:
    params: dict[str, str | list[str]] = {}
    for name, value in values.items():
        if isinstance(value, bool):
            params[name] = "true" if value else "false"
        elif isinstance(value, (list, tuple)):
            params[name] = [str(item) for item in value]
        elif value is not None and value != "":
            params[name] = str(value)
    return params


def seconds(value: float | str | None) -> str | None:
    return value if isinstance(value, str) or value is None else f"{round(value * 1000)}ms"


def models_path(namespace: str) -> str:
    return f"{API}/namespaces/{quote(namespace, safe='')}/models"


def model_path(namespace: str, name: str, *rest: str) -> str:
    return "/".join([models_path(namespace), quote(name, safe=""), *rest])


_operation = partial(types.parse, types.Operation)


# ------------------------------------------------------------------------------------------- the rest


def get_operation(operation_id: str) -> Call[types.Operation]:
    return get(f"{API}/operations/{quote(operation_id, safe='')}", _operation)


def list_operations(
    namespace: str | None, model: str | None, done: bool | None, page_size: int | None
) -> Call[types.Page[types.Operation]]:
    parse = partial(types.parse_page, types.Operation)
    return get(
        f"{API}/operations", parse, READ, namespace=namespace, model=model, done=done, page_size=page_size
    )  # fmt: skip


def wait_operation(operation_id: str, patience: float) -> Call[types.Operation]:
    path = f"{API}/operations/{quote(operation_id, safe='')}/wait"
    return get(path, _operation, patience + 10, timeout=seconds(patience))


def cancel_operation(operation_id: str, running: bool) -> Call[types.Operation]:
    path = f"{API}/operations/{quote(operation_id, safe='')}/cancel"
    return post(path, _operation, {}, keyed=False, running=running or None)


def create_namespace(name: str, description: str, quota: Mapping[str, Any] | None) -> Call[types.Namespace]:
    body = {"name": name, "description": description, "quota": quota or {}}
    return post(f"{API}/namespaces", partial(types.parse, types.Namespace), body, keyed=False)


def get_namespace(name: str) -> Call[types.Namespace]:
    return get(f"{API}/namespaces/{quote(name, safe='')}", partial(types.parse, types.Namespace))


def list_namespaces() -> Call[list[types.Namespace]]:
    return get(f"{API}/namespaces", partial(types.parse_items, types.Namespace))


def set_quota(name: str, quota: Mapping[str, Any]) -> Call[types.Namespace]:
    path = f"{API}/namespaces/{quote(name, safe='')}"
    return write("PATCH", path, partial(types.parse, types.Namespace), {"quota": quota})


def update_namespace(
    name: str, description: str | None, features: Mapping[str, Any] | None, quota: Mapping[str, Any] | None
) -> Call[types.Namespace]:
    given = {"description": description, "features": features, "quota": quota}
    body = {field: value for field, value in given.items() if value is not None}
    return write("PATCH", f"{API}/namespaces/{quote(name, safe='')}", partial(types.parse, types.Namespace), body)


def delete_namespace(name: str) -> Call[None]:
    path = f"{API}/namespaces/{quote(name, safe='')}"
    return Call(method="DELETE", path=path, read=lambda _: None, repeatable=False)


def list_events(namespace: str | None, model: str | None, page_size: int | None) -> Call[types.Page[types.Event]]:
    parse = partial(types.parse_page, types.Event)
    return get(f"{API}/events", parse, READ, namespace=namespace, model=model, page_size=page_size)


def watch_events(namespace: str | None, model: str | None, after: int | None) -> Call[None]:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    call: Call[None] = get(f"{API}/events", lambda _: None, None, follow=True, namespace=namespace, model=model)
    return replace(call, headers=headers)


def capacity(site: str | None) -> Call[list[site_types.SiteCapacity]]:
    return get(f"{API}/capacity", partial(types.parse_items, site_types.SiteCapacity), READ, site=site)


def examine() -> Call[list[site_types.Finding]]:
    return get(f"{API}/doctor", partial(types.parse_items, site_types.Finding))


def clear(findings: Sequence[site_types.Finding] | None) -> Call[list[site_types.Finding]]:
    """Clearing what is gone already does nothing."""
    items = None if findings is None else [{"kind": f.kind, "id": f.id} for f in findings]
    call = post(f"{API}/doctor", partial(types.parse_items, site_types.Finding), {"items": items}, keyed=False)
    return replace(call, repeatable=True)


def version() -> Call[dict[str, Any]]:
    return get(f"{API}/version", dict[str, Any])


def health() -> Call[dict[str, Any]]:
    """Answered without a token too, with less in it."""
    return get("/health", dict[str, Any])


# ------------------------------------------------------------------------------------------- inference


def inference_path(namespace: str, name: str, version: str | int | None) -> str:
    prefix = "" if namespace == DEFAULT_NAMESPACE else f"/namespaces/{quote(namespace, safe='')}"
    suffix = "" if version is None else f"/versions/{quote(str(version), safe='')}"
    return f"{prefix}/v2/models/{quote(name, safe='')}{suffix}"


def model_metadata(namespace: str, name: str, version: str | int | None) -> Call[types.ModelMetadata]:
    return get(inference_path(namespace, name, version), partial(types.parse, types.ModelMetadata))


def infer(
    namespace: str, name: str, version: str | int | None, body: bytes, timeout: float | None
) -> Call[dict[str, Any]]:
    """Not repeatable: whether a model may compute twice is its user's to say. The gateway bounds the time."""
    return Call(
        method="POST", path=inference_path(namespace, name, version) + "/infer", read=dict[str, Any], content=body,
        headers={"Content-Type": "application/json"}, repeatable=False, read_timeout=timeout,
    )  # fmt: skip
