"""PyTriton: NVIDIA's server with a Python function behind it, batching as it does by itself."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from bench.peers.serving.apps import digits

session = digits.load()


@batch  # type: ignore[untyped-decorator]
def infer(input: Any) -> dict[str, Any]:
    label, probabilities = session.run(None, {"input": input})
    return {"label": label.reshape(-1, 1), "probabilities": probabilities}


if __name__ == "__main__":
    http, grpc, metrics = (int(port) for port in (sys.argv[1], *sys.argv[3:]))
    config = TritonConfig(
        http_address="127.0.0.1", http_port=http, grpc_address="127.0.0.1", grpc_port=grpc, metrics_port=metrics
    )
    with Triton(config=config) as triton:
        triton.bind(
            digits.NAME, infer, inputs=[Tensor(name="input", dtype=np.float32, shape=(64,))],
            outputs=[
                Tensor(name="label", dtype=np.int64, shape=(1,)),
                Tensor(name="probabilities", dtype=np.float32, shape=(10,)),
            ],
            config=ModelConfig(max_batch_size=128),
        )  # fmt: skip
        triton.serve()
