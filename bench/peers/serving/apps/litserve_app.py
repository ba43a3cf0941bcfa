"""LitServe, as its quick start has it."""

from __future__ import annotations

import sys
from typing import Any

import litserve

from bench.peers.serving.apps import digits


class Digits(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self.session = digits.load()

    # Without an annotation, which would change how the request is parsed.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return request

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        return digits.answer(self.session, request)

    def encode_response(self, answer: dict[str, Any]) -> dict[str, Any]:
        return answer


if __name__ == "__main__":
    server = litserve.LitServer(
        Digits(api_path="/v2/models/digits/infer"), accelerator="cpu", workers_per_device=int(sys.argv[2])
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
