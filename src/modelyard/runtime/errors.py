"""What goes wrong in a worker: a model that does not load, limits that do not hold, a request that is refused.

Stdlib only: the launcher of the ``command`` engine imports this too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Exit codes of a worker process. Others (a signal, a model that calls exit) are a crash.
EXIT_LOAD_FAILURE = 3
EXIT_LIMITS = 4


class LoadFailure(Exception):
    """The model cannot be served. ``permanent``: trying again without a change would fail again."""

    def __init__(self, code: str, message: str, *, permanent: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.permanent = permanent

    def as_dict(self) -> dict[str, object]:
        return {"code": self.code, "message": self.message, "permanent": self.permanent}


class LimitsFailure(LoadFailure):
    """The process could not be given the limits or the surroundings that its spec asks for."""


def out_of_memory(limit: int | None, doing: str) -> LoadFailure:
    """The failure of a process that ran into its memory limit (bytes; None: the machine's own)."""
    bound = f"its memory limit of {limit // 2**20} MiB" if limit is not None else "the memory of this machine"
    return LoadFailure(
        "out_of_memory",
        f"{doing} needs more than {bound}: raise resources.memory, or serve a smaller model.",
    )


# What native libraries and the loader say when an allocation fails: few of them raise MemoryError.
_OUT_OF_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "cannot allocate",
    "cannot map zero-fill pages",
    "can't start new thread",
    "failed to allocate",
    "failed to map segment",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)


# One thing wrong in a request: the field's path as its sender wrote it, a stable code, a sentence.
FieldProblem = tuple[str, str, str]

_TITLES = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    422: "Invalid request",
    500: "Internal error",
    503: "Unavailable",
}


class RequestError(Exception):
    """A request that gets a problem (RFC 9457) for its answer; ``status`` and ``code`` as there."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        problems: Sequence[FieldProblem] = (),
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.problems = tuple(problems)
        self.extra = dict(extra or {})

    def as_problem(self, request_id: str | None = None, instance: str | None = None) -> dict[str, object]:
        """The problem's JSON object. ``error`` repeats ``detail``: clients of V2 read that field."""
        problem: dict[str, object] = {
            "type": "about:blank",
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "error": self.detail,
            **self.extra,
        }
        if instance is not None:
            problem["instance"] = instance
        if request_id is not None:
            problem["request_id"] = request_id
        if self.problems:
            problem["errors"] = [{"path": p, "code": c, "message": m} for p, c, m in self.problems]
        return problem


class InvalidFields(RequestError):
    """Everything wrong with a request's fields, at once."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        detail = "; ".join(f"{path}: {message}" if path else message for path, _, message in problems)
        super().__init__(422, "invalid_request", detail, problems=problems)
