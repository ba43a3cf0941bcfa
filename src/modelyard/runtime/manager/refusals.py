"""Why a model cannot be had, in words that say what to do."""

from __future__ import annotations

import logging
from typing import Final

from modelyard.runtime.errors import LoadFailure
from modelyard.runtime.manager.entries import Entry, ModelUnavailable, State
from modelyard.runtime.manager.memory import mib

# Where nothing tells when a model that is being loaded will be there: seconds until it is worth asking again.
_ASK_AGAIN: Final = 1.0

_log = logging.getLogger("modelyard.runtime")


def unavailable(entry: Entry, now: float, *, ended: bool) -> ModelUnavailable:
    """``now`` by the loop's clock; ``ended``: the process ends."""
    name = entry.name
    if ended:
        return ModelUnavailable("stopping", "This process is ending and takes no new requests.", model=name)
    if entry.out:
        message = f"{name} was unloaded: load it with POST /v2/repository/models/{name}/load."
        return ModelUnavailable("model_unloaded", message, model=name)
    if entry.failed is not None and entry.job is None:
        failure, retry_at = entry.failed.failure, entry.failed.retry_at
        retry_after = None if retry_at is None else max(retry_at - now, 0.0)
        message = f"{name} could not be loaded: {failure.message}"
        return ModelUnavailable(failure.code, message, model=name, retry_after=retry_after)
    doing = "is still being loaded" if entry.state is State.LOADING else "waits for others to be loaded, or for room"
    return ModelUnavailable("model_loading", f"{name} {doing}.", model=name, retry_after=_ASK_AGAIN)


def given_up(entry: Entry, now: float) -> str | None:
    """Why it is not loaded unless somebody asks for that: it failed for good, or was unloaded; None: it may be."""
    if entry.loaded is not None or entry.job is not None:
        return None
    failed_for_good = entry.failed is not None and entry.failed.failure.permanent
    return unavailable(entry, now, ended=False).detail if entry.out or failed_for_good else None


def too_large(name: str, need: int, pinned: int, budget: int) -> LoadFailure:
    """All in bytes; ``pinned``: what of the ``budget`` stays taken."""
    kept = f", of which {mib(pinned)} stay taken" if pinned else ""
    return LoadFailure(
        "over_budget",
        f"{name} takes {mib(need)}, and all models together may take {mib(budget)}{kept}: raise memory_budget, or "
        "serve it in a process of its own.",
    )


def failure_of(name: str, error: BaseException) -> LoadFailure:
    """What a loader has raised, as a failure; what is none of its own is logged."""
    if isinstance(error, LoadFailure):
        return error
    if isinstance(error, Exception):
        _log.error("loading %s failed", name, exc_info=error)
    message = f"The model cannot be loaded: {type(error).__name__}: {error}"
    return LoadFailure("load_failed", message, permanent=False)
