"""Problem bodies (RFC 9457) and the one exception that becomes such an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

PROBLEM_TYPE = b"application/problem+json"

Header = tuple[bytes, bytes]


class Refusal(Exception):
    """The request is answered by the gateway itself: ``status``, a stable ``code``, and a sentence that
    says what to do. ``headers`` go out with it, ``extra`` stand in the body."""

    def __init__(self, status: int, code: str, detail: str, *, headers: Sequence[Header] = (), **extra: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = tuple(headers)
        self.extra: Mapping[str, Any] = extra
        self.counted = False  # in the counts of the model that it is about


def problem_body(refusal: Refusal, instance: str, request_id: str) -> bytes:
    """The JSON of a problem. ``error`` repeats the detail for clients of the V2 protocol."""
    return orjson.dumps(
        {
            "type": "about:blank",
            "title": HTTPStatus(refusal.status).phrase,
            "status": refusal.status,
            "code": refusal.code,
            "detail": refusal.detail,
            "instance": instance,
            "request_id": request_id,
            "error": refusal.detail,
            **refusal.extra,
        }
    )


def retry_after(seconds: int) -> Header:
    return (b"retry-after", b"%d" % seconds)


def method_not_allowed(allowed: str) -> Refusal:
    return Refusal(
        405, "method_not_allowed", f"This path takes {allowed} only.", headers=[(b"allow", allowed.encode())]
    )


def unauthenticated(why: str = "") -> Refusal:
    return Refusal(
        401,
        "unauthenticated",
        (f"{why} " if why else "")
        + "Send 'Authorization: Bearer TOKEN' with an API key, a token of the identity provider, or the administrator "
        "token, which stands in admin.token in Modelyard's home.",
        headers=[(b"www-authenticate", b'Bearer realm="modelyard"')],
    )


def model_not_found(namespace: str, name: str) -> Refusal:
    return Refusal(
        404,
        "model_not_found",
        f"Namespace {namespace[:64]!r} has no model {name[:64]!r}. 'modelyard list' shows those there are.",
    )


def version_not_found(name: str, version: str, known: Sequence[str]) -> Refusal:
    return Refusal(
        404,
        "version_not_found",
        f"Model {name!r} serves version {' and '.join(known)}, not {version[:64]!r}. Leave the version out for "
        "whatever serves.",
    )


def not_proxied(name: str) -> Refusal:
    return Refusal(
        404,
        "not_proxied",
        f"Model {name!r} speaks the V2 protocol: ask it under /v2/models/{name}. Only models of the command engine "
        "have a server of their own to pass requests on to.",
    )


def queue_full(name: str, limit: int) -> Refusal:
    return Refusal(
        503,
        "queue_full",
        f"{limit} requests run or wait already in model {name!r}, which is its limit. Try again in a moment, or raise "
        "limits.max_queue or the replicas.",
        headers=[retry_after(1)],
        retry_after=1,
        max_queue=limit,
    )


def too_many_waiting(name: str, limit: int) -> Refusal:
    return Refusal(
        503,
        "too_many_waiting",
        f"{limit} requests wait already for model {name!r} to start, which is its limit. Try again in a moment, or "
        "raise autoscaling.max_waiting.",
        headers=[retry_after(1)],
        retry_after=1,
        max_waiting=limit,
    )


def wake_timeout(name: str, argument: str, state: str, timeout: float, setting: str) -> Refusal:
    return Refusal(
        503,
        "wake_timeout",
        f"Model {name!r} is {state}: no instance of it was there within {timeout:g} s, its {setting}. It is "
        f"still being started; 'modelyard status {argument}' says how far it is. Try again in a moment, or raise "
        f"{setting}.",
        headers=[retry_after(5)],
        retry_after=5,
        state=state,
    )


def stopping() -> Refusal:
    return Refusal(
        503,
        "gateway_stopping",
        "The gateway is being restarted. Try again in a moment.",
        headers=[retry_after(1), (b"connection", b"close")],
        retry_after=1,
    )


def instance_unreachable(name: str) -> Refusal:
    return Refusal(
        503,
        "instance_unreachable",
        f"No instance of model {name!r} could be reached; they are being restored or replaced. Try again in a moment.",
        headers=[retry_after(1)],
        retry_after=1,
    )


def instance_lost(name: str) -> Refusal:
    return Refusal(
        503,
        "instance_lost",
        f"The instance of model {name!r} that had this request ended before it answered. The request may have been "
        "worked on; send it again if that does no harm.",
        headers=[retry_after(1)],
        retry_after=1,
    )


class BodyLimit(NamedTuple):
    """The most bytes that a body may have, and the setting to raise for more."""

    size: int
    setting: str


def body_too_large(limit: BodyLimit) -> Refusal:
    return Refusal(
        413,
        "body_too_large",
        f"The request body is larger than the {limit.size} bytes allowed here. Send less at once, or raise "
        f"{limit.setting}.",
        max_body=limit.size,
    )
