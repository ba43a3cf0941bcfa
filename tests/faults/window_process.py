"""``python -m tests.faults.window_process HOME MODELS STOPS``: a control process that is killed as a window begins.

It starts so many models, sets a policy whose window holds now, and kills itself when that many stops are about to be
written.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from modelyard.app.plane import control_plane
from modelyard.control.caller import Caller
from modelyard.control.ports import Fence, Idempotency, Place
from modelyard.domain.access import administrator
from modelyard.domain.commands import Change
from modelyard.domain.operations import OperationKind
from modelyard.domain.policies import Policy, Rules
from modelyard.domain.schedules import Weekday
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import RunState
from modelyard.domain.windows import Shutdown, ShutdownWindow
from modelyard.settings import Settings

ADMIN = Caller(actor="admin", reason="test", principal=administrator("admin"))


def window(*days: Weekday) -> Policy:
    shutdown = Shutdown(timezone="UTC", windows=(ShutdownWindow(days=days),), resume=True)
    return Policy(name="window", rules=Rules(shutdown=shutdown))


async def main(home: Path, count: int, stops: int) -> None:
    async with control_plane(Settings(home=home, token="t")) as services:
        names = [f"m{number}" for number in range(count)]
        spec = Spec(engine=Engine.MOCK)
        made = [await services.models.create("default", name, spec, RunState.RUNNING, ADMIN) for name in names]
        for operation in made:
            assert (await services.models.wait_operation(operation.id, 30, None)).error is None
        store: Any = services.store
        commit, written = store.commit, 0

        async def until_killed(
            change: Change, idempotency: Idempotency | Place | None = None, fence: Fence | None = None
        ) -> Change:
            nonlocal written
            if any(o.kind is OperationKind.STOP for o in change.operations) and not change.operations[-1].done:
                if written == stops:
                    os.kill(os.getpid(), signal.SIGKILL)
                written += 1
            result: Change = await commit(change, idempotency, fence)
            return result

        store.commit = until_killed
        # Every day but one, so that it holds for hours whenever this runs.
        today = services.clock().isoweekday() - 1
        week = list(Weekday)
        await services.policies.put(window(*(day for day in week if day is not week[today - 2])), ADMIN)
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
