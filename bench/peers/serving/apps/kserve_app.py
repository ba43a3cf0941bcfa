"""KServe's Python server with a custom model."""

from __future__ import annotations

import sys
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

from bench.peers.serving.apps import digits


class Digits(Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(digits.NAME)
        # Loaded by the first request: the model is pickled for the workers, which a session cannot be.
        self.session: Any = None
        self.ready = True

    async def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:
        if self.session is None:
            self.session = digits.load()
        label, probabilities = self.session.run(None, {"input": payload.inputs[0].as_numpy()})
        outputs = []
        for name, datatype, array in (("label", "INT64", label), ("probabilities", "FP32", probabilities)):
            output = InferOutput(name, list(array.shape), datatype)
            output.set_data_from_numpy(array, binary_data=bool(payload.use_binary_outputs))
            outputs.append(output)
        return InferResponse(
            payload.id or "", digits.NAME, outputs, use_binary_outputs=bool(payload.use_binary_outputs)
        )


if __name__ == "__main__":
    ModelServer(
        http_port=int(sys.argv[1]), workers=int(sys.argv[2]), enable_grpc=False, enable_latency_logging=False
    ).start([Digits()])
