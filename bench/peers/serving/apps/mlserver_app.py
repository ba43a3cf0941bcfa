"""MLServer with a custom runtime; WORKERS 0 is in process. Its files are written to the working folder."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from bench.peers.serving.apps import digits


class Digits(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        self.session = digits.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        label, probabilities = self.session.run(None, {"input": rows})
        outputs = [
            NumpyCodec.encode_output("label", label), NumpyCodec.encode_output("probabilities", probabilities),
        ]  # fmt: skip
        return InferenceResponse(model_name=self.name, outputs=outputs)


def write(folder: Path, port: int, workers: int, others: list[int]) -> None:
    settings: dict[str, Any] = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": others[0], "metrics_port": others[1], "debug": False,
        "parallel_workers": workers,
    }  # fmt: skip
    model = {"name": digits.NAME, "implementation": "bench.peers.serving.apps.mlserver_app.Digits"}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))


if __name__ == "__main__":
    write(Path.cwd(), int(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]])
    command = Path(sys.executable).with_name("mlserver")
    os.execv(command, [str(command), "start", "."])
