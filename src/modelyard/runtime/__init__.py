"""The worker: engines, inference protocols and the frames they travel in; the manager of many models in one process.

Usable alone (``python -m modelyard.runtime --model PATH``); knows nothing of control, store or API.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard.runtime.errors import RequestError
    from modelyard.runtime.manager.config import ProgressiveLoadingConfig
    from modelyard.runtime.manager.entries import ModelUnavailable
    from modelyard.runtime.manager.manager import ModelManager

__all__ = ["ModelManager", "ModelUnavailable", "ProgressiveLoadingConfig", "RequestError"]

_FROM = {
    "ModelManager": "modelyard.runtime.manager.manager",
    "ModelUnavailable": "modelyard.runtime.manager.entries",
    "ProgressiveLoadingConfig": "modelyard.runtime.manager.config",
    "RequestError": "modelyard.runtime.errors",
}


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: a worker needs none of it, and should start at once.
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_FROM[name]), name)
