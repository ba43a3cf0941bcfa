"""Ray Serve with one replica; its proxy is chosen by the environment."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from bench.peers.serving.apps import digits


@serve.deployment(num_replicas=1, max_ongoing_requests=256)
class Digits:
    def __init__(self) -> None:
        self.session = digits.load()

    async def __call__(self, request: Request) -> Response:
        answer = digits.answer(self.session, json.loads(await request.body()))
        return Response(json.dumps(answer), media_type="application/json")


def end(*_: Any) -> None:
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Digits.bind(), route_prefix="/v2/models/digits/infer", logging_config={"enable_access_log": False})
    signal.pause()
