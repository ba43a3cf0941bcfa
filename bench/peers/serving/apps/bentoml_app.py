"""BentoML, as its quick start has it: a service with one API, served by ``bentoml serve``."""

from __future__ import annotations

import sys
from typing import Any

import bentoml

from bench.peers.serving.apps import digits


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Digits:
    def __init__(self) -> None:
        self.session = digits.load()

    @bentoml.api(route="/v2/models/digits/infer")
    def infer(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        return digits.answer(self.session, {"inputs": inputs})


if __name__ == "__main__":
    from bentoml_cli.serve import serve

    serve(
        ["bench.peers.serving.apps.bentoml_app:Digits", "--host", "127.0.0.1", "--port", sys.argv[1]],
        standalone_mode=True,
    )
