"""What can go wrong when talking to a Modelyard.

::

    ModelyardError
    ├── NotRunning              nothing listens at the URL
    ├── Unreachable             the connection broke, or the answer was none of Modelyard's
    ├── Untrusted               its certificate is not one to trust
    ├── TimedOut                a wait ran out of time; what was asked goes on
    ├── OperationFailed         the operation that was waited for failed or was cancelled
    ├── TransferFailed          the transfer that was waited for failed or was cancelled
    └── ApiError                Modelyard answered with a problem (RFC 9457)
        ├── InvalidRequest      400, 413, 415, 422
        ├── Unauthorized        401, 403
        ├── NotFound            404
        ├── Refused             409, the state does not allow it
        ├── VersionConflict     412, changed by somebody else in between
        └── ServerError         429 and 5xx

Every error has ``code`` (stable), ``detail`` (a sentence), ``errors`` (wrong fields, each with its
path), ``allowed`` (commands that are allowed now) and ``request_id``; what does not apply is empty.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from modelyard.client.transfer_types import Transfer
from modelyard.client.types import ItemError, Operation


class FieldError(msgspec.Struct, frozen=True):
    """One wrong field of a request, by its path in it: ``spec.replicas.min``."""

    path: str = ""
    code: str = ""
    message: str = ""


class ModelyardError(Exception):
    """Something did not work."""

    code = "error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        allowed: Sequence[str] = (),
        request_id: str = "",
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.errors = tuple(errors)
        self.allowed = tuple(allowed)
        self.request_id = request_id


class NotRunning(ModelyardError):
    """Nothing listens at the URL."""

    code = "not_running"

    def __init__(self, url: str) -> None:
        super().__init__(f"Modelyard is not running at {url}: start it with `modelyard up`.")


class Unreachable(ModelyardError):
    """The connection broke, or the answer was none of Modelyard's."""

    code = "unreachable"


class Untrusted(ModelyardError):
    """What listens at the URL shows a certificate that is not trusted, or is not for that name."""

    code = "untrusted_certificate"

    def __init__(self, url: str, error: ssl.SSLCertVerificationError) -> None:
        # OpenSSL's codes for a chain that ends in nobody who is known.
        help_ = (
            " If it is the right one, have its file, or its authority's, trusted by MODELYARD_CA_FILE (or ca_file)."
            if error.verify_code in (18, 19, 20, 21)
            else ""
        )
        why = error.verify_message.rstrip(".")
        super().__init__(f"The certificate at {url} is not trusted: {why}.{help_}")


class TimedOut(ModelyardError):
    """A wait ran out of time. What was asked goes on."""

    code = "timed_out"


class OperationFailed(ModelyardError):
    """The operation failed or was cancelled; ``log`` holds the instance's last lines, if there are any."""

    def __init__(self, operation: Operation) -> None:
        error = operation.error
        super().__init__(
            error.message if error else f"The operation {operation.state}.", code=error.code if error else None
        )
        self.operation = operation
        self.log = tuple(error.log) if error else ()


class TransferFailed(ModelyardError):
    """The transfer failed or was cancelled."""

    def __init__(self, transfer: Transfer) -> None:
        error = transfer.error
        super().__init__(
            error.message if error else f"The transfer {transfer.state}.", code=error.code if error else None
        )
        self.transfer = transfer


class ApiError(ModelyardError):
    """Modelyard answered with a problem. ``body`` is all of it, ``status`` the HTTP status."""

    def __init__(self, status: int, body: Mapping[str, Any], request_id: str = "") -> None:
        detail = str(body.get("detail") or body.get("error") or body.get("title") or f"HTTP status {status}.")
        super().__init__(
            detail,
            code=str(body.get("code") or f"http_{status}"),
            errors=_field_errors(body.get("errors")),
            allowed=[str(command) for command in body.get("allowed") or ()],
            request_id=str(body.get("request_id") or request_id),
        )
        self.status = status
        self.body = body


class InvalidRequest(ApiError):
    """The request is not valid; ``errors`` says which fields are wrong and why."""


class Unauthorized(ApiError):
    """The token is missing or is not the right one."""


class NotFound(ApiError):
    """There is no such thing."""


class Refused(ApiError):
    """The present state does not allow it; ``allowed`` says what it does allow."""


class VersionConflict(ApiError):
    """Somebody else changed it in between: get it again, and repeat the change."""


class ServerError(ApiError):
    """Modelyard cannot do it now, or failed at it."""


_CLASSES: Mapping[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    409: Refused,
    412: VersionConflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
}


def api_error(status: int, body: object, request_id: str) -> ApiError:
    """The error for an answer of ``status`` 400 or more; ``body`` is its JSON, or anything else."""
    known = body if isinstance(body, Mapping) else {}
    return _CLASSES.get(status, ServerError)(status, known, request_id)


def item_error(error: ItemError | None) -> ApiError:
    """The error that one of many would have raised, had it been asked for alone."""
    if error is None:
        return ServerError(500, {})
    status = 404 if error.code == "not_found" else 409
    return api_error(status, {"code": error.code, "detail": error.detail, "allowed": error.allowed}, "")


def _field_errors(items: object) -> list[FieldError]:
    try:
        return msgspec.convert(items or [], list[FieldError])
    except msgspec.ValidationError:
        return []
