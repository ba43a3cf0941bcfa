"""The error tree. Each class has a stable ``code`` and the HTTP status it is answered with.

::

    ModelyardError
    ├── InvalidRequest        400/422  one or many Problems, each with the path of its field
    ├── Forbidden             403      the caller's role does not allow it (in access.py)
    ├── NotFound              404
    ├── Refused               409      the state does not allow it; says what is allowed now
    ├── AlreadyExists         409
    ├── VersionConflict       409      a lost race; those who decide on what they read read again
    ├── EtagMismatch          412      If-Match did not match
    ├── IdempotencyMismatch   422      a key used again with another request
    └── Unavailable           503      something this needs is not there at the moment
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request.

    ``path`` is the field's path in the request as its sender wrote it, for example
    ``spec.replicas.min`` or ``inputs[0].shape``; empty for the request as a whole.
    """

    path: str
    code: str
    message: str


class ModelyardError(Exception):
    """Modelyard could not do what was asked."""

    code = "internal_error"
    http_status = 500
    title = "Internal error"

    def __init__(self, message: str | None = None, **extra: object) -> None:
        super().__init__(message or self.__doc__ or self.title)
        self.extra: Mapping[str, object] = extra

    @property
    def message(self) -> str:
        return str(self.args[0])


class InvalidRequest(ModelyardError):
    """The request is not valid."""

    code = "invalid_request"
    http_status = 422
    title = "Invalid request"

    def __init__(self, problems: Sequence[Problem], message: str | None = None) -> None:
        self.problems = tuple(problems)
        if message is None:
            message = "; ".join(f"{p.path}: {p.message}" if p.path else p.message for p in self.problems)
        super().__init__(message)


class NotFound(ModelyardError):
    """There is no such thing."""

    code = "not_found"
    http_status = 404
    title = "Not found"


class AlreadyExists(ModelyardError):
    """Something of that name exists already."""

    code = "already_exists"
    http_status = 409
    title = "Already exists"


class Refused(ModelyardError):
    """The present state does not allow this command.

    ``code`` is the refusal's own stable code, ``allowed`` the commands that are allowed now.
    """

    http_status = 409
    title = "Not allowed now"

    def __init__(self, code: str, message: str, allowed: Sequence[str] = ()) -> None:
        super().__init__(message, allowed=list(allowed))
        self.code = code
        self.allowed = tuple(allowed)


class VersionConflict(ModelyardError):
    """The thing was changed by somebody else in between: read it again and decide again."""

    code = "version_conflict"
    http_status = 409
    title = "Changed in between"


class EtagMismatch(ModelyardError):
    """The thing is no longer what If-Match names."""

    code = "etag_mismatch"
    http_status = 412
    title = "Changed in between"


class IdempotencyMismatch(ModelyardError):
    """This Idempotency-Key was used for another request before."""

    code = "idempotency_mismatch"
    http_status = 422
    title = "Idempotency-Key used for another request"


class Unavailable(ModelyardError):
    """Something this needs is not there at the moment."""

    code = "unavailable"
    http_status = 503
    title = "Unavailable"
