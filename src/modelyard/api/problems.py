"""Every error as an RFC 9457 problem body with a stable code, all field errors at once, and the request's id."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.access.limits import RateLimited
from modelyard.api.salvage import all_problems
from modelyard.api.translate import field_problem
from modelyard.domain.errors import InvalidRequest, ModelyardError, Problem

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "x-request-id"
# No page of another origin shows ours in a frame, where clicks could be stolen.
_FRAMES = (b"content-security-policy", b"frame-ancestors 'self'")
# Answers are for who has shown who it is, and for now.
_NO_STORE = (b"cache-control", b"no-store")

_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    422: "invalid_request",
}
_TITLES = {
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    413: "Body too large",
}


class Unauthorized(ModelyardError):
    """Sign in, or send a key or token as 'Authorization: Bearer TOKEN'."""

    code = "unauthorized"
    http_status = 401
    title = "Not authenticated"


def problem(
    request: Request,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[Problem] = (),
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    # For the record of who did what.
    request.scope["problem"] = code
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "instance": request.url.path,
        "request_id": request.scope.get("request_id", ""),
    }
    if errors:
        body["errors"] = [{"path": p.path, "code": p.code, "message": p.message} for p in errors]
    body.update(extra or {})
    return Response(orjson.dumps(body), status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


async def _on_modelyard_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ModelyardError)
    headers = {}
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.http_status == 503:
        headers["Retry-After"] = "1"
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    errors = error.problems if isinstance(error, InvalidRequest) else ()
    return problem(
        request, error.http_status, error.code, error.title, error.message, errors, dict(error.extra), headers
    )


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    in_body = [item for item in error.errors() if item["loc"][:1] == ("body",)]
    if isinstance(error.body, bytes):
        # Nobody has read it as JSON, as it does not say that it is.
        return _no_json(request)
    for item in in_body:
        if item["type"] == "json_invalid":
            position = item["loc"][1] if len(item["loc"]) > 1 else "?"
            why = item.get("ctx", {}).get("error", "invalid")
            message = f"The body is not JSON: {why} (at character {position})."
            broken = [Problem("", "invalid_json", message)]
            return problem(request, 400, "invalid_json", "Invalid request", message, broken)
    # The first part says where the value stood (query, path, header); a body's field needs no such word.
    problems = [
        field_problem(tuple(item["loc"]), item["type"], item["msg"]) for item in error.errors() if item not in in_body
    ]
    details = [ErrorDetails({**item, "loc": tuple(item["loc"][1:])}) for item in in_body]  # type: ignore[typeddict-item]
    # A patch is no whole spec: what is missing in it is not wrong.
    rest = None if request.method == "PATCH" else error.body
    problems += await all_problems(rest, details, request.app.state.services.checks)
    invalid = InvalidRequest(problems)
    return problem(request, 422, invalid.code, invalid.title, invalid.message, invalid.problems)


def _no_json(request: Request) -> Response:
    given = request.headers.get("content-type")
    said = f"as {given[:100]!r}" if given else "without a Content-Type"
    detail = f"The body was sent {said}. Send JSON, with the header Content-Type: application/json."
    wrong = [Problem("header.Content-Type", "unsupported_media_type", detail)]
    return problem(request, 415, "unsupported_media_type", "Unsupported media type", detail, wrong)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "error")
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}; /docs lists what there is."
    return problem(
        request, error.status_code, code, _TITLES.get(error.status_code, "Error"), detail, headers=error.headers
    )


async def _on_unexpected(request: Request, error: Exception) -> Response:
    request_id = request.scope.get("request_id", "")
    log.error("Request %s failed unexpectedly", request_id, exc_info=error)
    detail = f"Something went wrong inside Modelyard; the control log has it under request {request_id}."
    return problem(request, 500, "internal_error", "Internal error", detail)


def install(app: FastAPI) -> None:
    """Have ``app`` answer every error as a problem."""
    app.add_exception_handler(ModelyardError, _on_modelyard_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected)


class BodyTooLarge(HTTPException):
    """Raised while a body is read."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The body is larger than the {limit} bytes that are taken here.")


class BodyLimit:
    """Stops reading a body at ``limit`` bytes, whatever length was announced; not below the path ``without``."""

    def __init__(self, app: ASGIApp, limit: int, without: str) -> None:
        self._app = app
        self._limit = limit
        self._without = without

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "PUT" and scope["path"].startswith(self._without):
            await self._app(scope, receive, send)
            return
        received = 0

        async def receive_some() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise BodyTooLarge(self._limit)
            return message

        await self._app(scope, receive_some, send)


class RequestId:
    """Gives each request an id (the gateway's, which checked it, or a new one) and returns it in the answer, with what
    keeps browsers from misusing the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        header = next((v for k, v in scope["headers"] if k == REQUEST_ID.encode()), b"")
        request_id = header.decode("latin-1")[:128] or secrets.token_hex(8)
        scope["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], (REQUEST_ID.encode(), request_id.encode("latin-1")), _FRAMES]
                if not any(name == _NO_STORE[0] for name, _ in message["headers"]):
                    headers.append(_NO_STORE)
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_id)
