"""The model that all serve: the same file, one thread, in whichever interpreter."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

NAME = "digits"


def load(path: Path | None = None) -> Any:
    """The session of the model at ``path``, or at the one that DIGITS_MODEL names."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path or os.environ["DIGITS_MODEL"], options, providers=["CPUExecutionProvider"])


def answer(session: Any, request: dict[str, Any]) -> dict[str, Any]:
    """A V2 request, decoded, to a V2 response, to be encoded."""
    import numpy as np

    tensor = request["inputs"][0]
    rows = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    label, probabilities = session.run(None, {"input": rows})
    return {
        "model_name": NAME,
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": list(label.shape), "data": label.tolist()},
            {
                "name": "probabilities", "datatype": "FP32", "shape": list(probabilities.shape),
                "data": probabilities.ravel().tolist(),
            },
        ],
    }  # fmt: skip
