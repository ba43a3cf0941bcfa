"""How far a start has come: the phases as data, and the way from one to another. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    INIT = "init"  # nothing is served yet
    CORE_READY = "core_ready"  # the process answers; no model is promised
    MODELS_LOADING = "models_loading"  # critical models are being loaded
    MODELS_READY = "models_ready"  # every critical model serves; others may still be loading
    FULLY_READY = "fully_ready"  # all that is to be loaded ahead has been
    STOPPED = "stopped"  # nothing is served any more


# Which phases may follow. A start passes through each in turn; who has come far goes back only to where something is
# missing again.
NEXT: Final[dict[Phase, tuple[Phase, ...]]] = {
    Phase.INIT: (Phase.CORE_READY, Phase.STOPPED),
    Phase.CORE_READY: (Phase.MODELS_LOADING, Phase.STOPPED),
    Phase.MODELS_LOADING: (Phase.MODELS_READY, Phase.STOPPED),
    Phase.MODELS_READY: (Phase.FULLY_READY, Phase.MODELS_LOADING, Phase.STOPPED),
    Phase.FULLY_READY: (Phase.MODELS_READY, Phase.MODELS_LOADING, Phase.STOPPED),
    Phase.STOPPED: (),
}
_ORDER: Final = tuple(Phase)


def is_ready(phase: Phase) -> bool:
    """Whether requests may be sent here: every critical model serves."""
    return phase in (Phase.MODELS_READY, Phase.FULLY_READY)


def reached(phase: Phase, wanted: Phase) -> bool:
    """Whether ``phase`` is ``wanted`` or beyond it. Who has stopped has reached nothing else."""
    if phase is Phase.STOPPED:
        return wanted is phase
    return _ORDER.index(phase) >= _ORDER.index(wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """``serving``: None before it begins, False once it has ended; ``begun``: models are being seen to."""

    serving: bool | None
    begun: bool
    critical_ready: bool
    all_ready: bool


def goal(facts: Facts) -> Phase:
    """The phase that the facts come to."""
    if facts.serving is None:
        return Phase.INIT
    if not facts.serving:
        return Phase.STOPPED
    if not facts.begun:
        return Phase.CORE_READY
    if not facts.critical_ready:
        return Phase.MODELS_LOADING
    return Phase.FULLY_READY if facts.all_ready else Phase.MODELS_READY


def path(phase: Phase, to: Phase) -> tuple[Phase, ...]:
    """The phases that are passed from ``phase`` to ``to``, which is the last; empty where nothing leads there, or where
    it is so already."""
    passed: list[Phase] = []
    while phase is not to:
        if to in NEXT[phase]:
            phase = to
        else:
            further = [after for after in NEXT[phase] if after is not Phase.STOPPED and reached(to, after)]
            if not further or not reached(further[0], phase):
                return ()
            phase = further[0]
        passed.append(phase)
    return tuple(passed)
