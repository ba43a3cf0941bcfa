"""The ``mock`` engine: set answers after a set time, for development without a model.

Options: ``latency_ms`` (of each answer), ``load_ms`` (of the start), ``outputs`` (tensors in V2's JSON
form). Without outputs it answers with its inputs.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from modelyard.runtime import v2
from modelyard.runtime.engines.base import AsyncModel, Inputs, LoadOptions, Model, Outputs, SyncModel
from modelyard.runtime.errors import LoadFailure, RequestError
from modelyard.runtime.signature import Signature, TensorSpec

PLATFORM = "mock"


def load(options: LoadOptions) -> Model:
    outputs = _outputs(options.options.get("outputs"))
    signature = Signature()
    if outputs:
        signature = Signature(
            outputs=tuple(
                TensorSpec(entry["name"], entry["datatype"], tuple(entry["shape"]))
                for entry in options.options["outputs"]
            )
        )
    latency = options.options.get("latency_ms", 0) / 1000
    time.sleep(options.options.get("load_ms", 0) / 1000)
    return _SlowMock(signature, outputs, latency) if latency else _Mock(signature, outputs)


def _outputs(tensors: Any) -> Inputs:
    if not tensors:
        return {}
    try:
        # A tensor reads the same in a request and in a response, so the request's checks apply.
        return v2.decode(orjson.dumps({"inputs": tensors}), None, Signature()).inputs
    except (RequestError, TypeError) as error:
        message = str(error).replace("inputs", "options.outputs")
        raise LoadFailure("invalid_options", f"The mock engine's outputs are not valid: {message}") from error


class _Mock(SyncModel):
    may_use_loop = True

    def __init__(self, signature: Signature, outputs: Inputs) -> None:
        super().__init__(PLATFORM, signature)
        self._outputs = outputs

    def predict(self, inputs: Inputs, outputs: tuple[str, ...] | None, parameters: dict[str, Any]) -> Outputs:
        return self._outputs or inputs


class _SlowMock(AsyncModel):
    """Waits without a thread, so that any number of requests can wait at once."""

    def __init__(self, signature: Signature, outputs: Inputs, latency: float) -> None:
        super().__init__(PLATFORM, signature)
        self._outputs = outputs
        self._latency = latency

    async def predict(self, inputs: Inputs, outputs: tuple[str, ...] | None, parameters: dict[str, Any]) -> Outputs:
        await asyncio.sleep(self._latency)
        return self._outputs or inputs
