"""Copies of requests for shadow models: sent once the caller has its answer, counted, and never waited for."""

from __future__ import annotations

import asyncio
import random
from time import monotonic
from typing import Any, Final

from modelyard.gateway.arms import SHADOW, Arm
from modelyard.gateway.inference import forward
from modelyard.gateway.problems import Refusal
from modelyard.gateway.served import RouteTable, ServedModel, Wanted
from modelyard.runtime.frames import Buffer, Head, pack
from modelyard.tasks import spawn

# Copies on their way in this process: those beyond it are not sent, so that a slow shadow cannot fill the memory.
LIMIT: Final = 64
# Bytes of a body that is copied.
MAX_BODY: Final = 2**20


class Shadows:
    """``routes`` says where the shadow models are."""

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes
        self._under_way = 0

    def copy(self, front: ServedModel, asked: tuple[dict[str, Any], Buffer] | None) -> None:
        """Send copies of what was ``asked`` of ``front`` to its shadows. Counted as missed is what is not: ``absent``
        (the shadow does not serve), ``too_large``, ``busy`` (as many copies are on their way as may), ``opaque`` (None:
        the request went on as a stream, or was refused before a worker was asked)."""
        traffic = front.route.traffic
        if traffic is None or not traffic.shadow:
            return
        for name, percent in traffic.shadow.items():
            if random.random() * 100 >= percent:
                continue
            arm, model = front.arms[SHADOW, name], self._routes.find(front.route.namespace, name)
            if asked is None:
                arm.miss("opaque")
            elif model is None or not model.workers:
                arm.miss("absent")
            elif len(asked[1]) > min(MAX_BODY, model.route.max_body):
                arm.miss("too_large")
            elif self._under_way >= LIMIT:
                arm.miss("busy")
            else:
                self._under_way += 1
                spawn(self._send(front, arm, model, *asked), f"copy a request to {name}")

    async def _send(
        self, front: ServedModel, arm: Arm, model: ServedModel, params: dict[str, Any], body: Buffer
    ) -> None:
        began, wanted = monotonic(), Wanted(server=False)
        seconds: float | None = None
        try:
            model.admit(wanted)
            try:
                async with asyncio.timeout(model.route.request_timeout):
                    answer, _ = await forward(model, wanted, pack(Head("infer", 0, params)), body)
                status, seconds = answer.status, monotonic() - began
                model.stats.observe(seconds)
            finally:
                model.leave()
            model.stats.count(status)
        except Refusal as refusal:
            model.refuse(refusal)
            status = refusal.status
        except TimeoutError:
            status = 504
            model.stats.count(status)
        finally:
            self._under_way -= 1
        arm.count(status, seconds, error=status >= 500)
        front.meter.changed()
