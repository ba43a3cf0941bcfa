"""What a manager says of itself, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.runtime.manager.entries import Entry

if TYPE_CHECKING:
    from modelyard.runtime.manager.manager import ModelManager


def status(manager: ModelManager) -> dict[str, Any]:
    """``phases``: seconds after the start in which each was reached; ``degraded``: models that are wanted and failed;
    sizes in bytes, times in seconds."""
    config, entries = manager.config, list(manager.loading.entries.values())
    ahead = [entry for entry in entries if entry.critical or entry.preload]
    return {
        "phase": manager.phase.value,
        "ready": manager.is_ready,
        "live": manager.is_live,
        "uptime": round(manager.uptime, 3),
        "phases": {phase.value: round(at, 3) for phase, at in manager.reached.items()},
        "environment": config.environment.value,
        "environment_told_by": config.told_by,
        "progress": {"loaded": sum(entry.settled for entry in ahead), "of": len(ahead)},
        "missing": missing(manager),
        "degraded": [entry.name for entry in entries if entry.failed is not None and not entry.out],
        "late": list(manager.late),
        "memory": {
            "budget": config.memory_budget,
            "used": sum(entry.loaded.size for entry in entries if entry.loaded is not None),
        },
        "models": {entry.name: _model(manager, entry) for entry in entries},
    }


def missing(manager: ModelManager) -> list[str]:
    """The critical models that do not serve."""
    return [entry.name for entry in manager.loading.entries.values() if entry.critical and entry.loaded is None]


def _model(manager: ModelManager, entry: Entry) -> dict[str, Any]:
    loaded, failed = entry.loaded, entry.failed
    said: dict[str, Any] = {
        "state": entry.state.value,
        "critical": entry.critical,
        "preload": entry.preload,
        "priority": entry.priority,
        "pinned": entry.pin,
        "depends_on": list(entry.depends_on),
        "loads": entry.loads,
        "evictions": entry.evictions,
    }
    if loaded is not None:
        said["memory"] = {"bytes": loaded.size, "from": loaded.size_from.value}
        said["uses"] = loaded.uses
        said["load_seconds"] = round(loaded.seconds, 4)
    if failed is not None:
        now = manager.loading.loop.time()
        said["error"] = {
            "code": failed.failure.code,
            "message": failed.failure.message,
            "failures": failed.count,
            "retry_after": None if failed.retry_at is None else round(max(failed.retry_at - now, 0.0), 3),
        }
    return said
