"""``python -m modelyard.demo DIR``: two real models to try things on, trained here from scikit-learn's own data.

``DIR/digits/model.onnx``: 8×8 pictures of handwritten digits, a logistic regression converted to ONNX.
``DIR/wine/model.skops``: cultivars from 13 measurements, a scikit-learn pipeline. Beside each stand
``sample.json`` (a V2 request of one row the model was not trained on) and ``about.json`` (accuracy, the
sample's answer, and digests by which a later run knows that the folder is whole and leaves it alone).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

# Of each its file, and what it is in a few words.
SAMPLES: Final[Mapping[str, tuple[str, str]]] = {
    "digits": ("model.onnx", "Handwritten digits: 8x8 pixels to the digit"),
    "wine": ("model.skops", "Wine cultivars: 13 measurements to the cultivar"),
}
# What one instance of either needs at most.
MEMORY: Final = "512Mi"
ABOUT: Final = "about.json"
SAMPLE: Final = "sample.json"
_SEED: Final = 0


def make(folder: Path) -> dict[str, dict[str, Any]]:
    """Have both models in ``folder``, training what is missing or half-written; returns each one's about.json."""
    return {
        "digits": _have(folder / "digits", SAMPLES["digits"][0], _train_digits),
        "wine": _have(folder / "wine", SAMPLES["wine"][0], _train_wine),
    }


def _have(folder: Path, name: str, train: Callable[[], _Trained]) -> dict[str, Any]:
    about = _whole(folder)
    if about is not None:
        return about
    model, sample, about = train()
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: model, SAMPLE: json.dumps(sample).encode() + b"\n"}
    about["files"] = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    # about.json comes last: without it, or with other digests in it, the folder is not whole.
    for file, content in (*files.items(), (ABOUT, json.dumps(about, indent=2).encode() + b"\n")):
        temporary = folder / f".{file}.{os.getpid()}"
        temporary.write_bytes(content)
        temporary.replace(folder / file)
    return about


def _whole(folder: Path) -> dict[str, Any] | None:
    """The folder's about.json if all its files are as it says."""
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
        for name, digest in about["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return about


# The model's file, a sample request, and what about.json says of them (less the digests).
_Trained = tuple[bytes, dict[str, Any], dict[str, Any]]


def _train_digits() -> _Trained:
    import numpy as np
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    x, y = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.25, random_state=_SEED, stratify=y)
    model = make_pipeline(MinMaxScaler(), LogisticRegression(C=0.5, max_iter=1000)).fit(train_x, train_y)
    converted = to_onnx(
        model, name="digits", initial_types=[("input", FloatTensorType([None, 64]))], options={"zipmap": False}
    )
    for output, name in zip(converted.graph.output, ("label", "probabilities"), strict=True):
        _rename_output(converted.graph, output.name, name)
    # The converter lists them in the order of a set, which differs from run to run.
    opsets = sorted(converted.opset_import, key=lambda opset: opset.domain)
    del converted.opset_import[:]
    converted.opset_import.extend(opsets)
    row, answer = _sample(model, test_x, test_y)
    request = _request("FP32", np.asarray(row, np.float32))
    about = {"accuracy": round(float(model.score(test_x, test_y)), 4), "sample_answer": int(answer)}
    return converted.SerializeToString(deterministic=True), request, about


def _rename_output(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
        node.input[:] = [new if name == old else name for name in node.input]
    for output in graph.output:
        if output.name == old:
            output.name = new


def _train_wine() -> _Trained:
    import skops.io
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_wine()
    labels = data.target_names[data.target]
    train_x, test_x, train_y, test_y = train_test_split(
        data.data, labels, test_size=0.25, random_state=_SEED, stratify=labels
    )
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(train_x, train_y)
    row, answer = _sample(model, test_x, test_y)
    about = {"accuracy": round(float(model.score(test_x, test_y)), 4), "sample_answer": str(answer)}
    return skops.io.dumps(model), _request("FP64", row), about


def _sample(model: Any, test_x: Any, test_y: Any) -> tuple[Any, Any]:
    """The first held-out row that the model gets right, and its answer."""
    index = int((model.predict(test_x) == test_y).argmax())
    return test_x[index], test_y[index]


def _request(datatype: str, row: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "input", "shape": [1, len(row)], "datatype": datatype, "data": row.tolist()}]}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m modelyard.demo DIR")
    for name, about in make(Path(sys.argv[1])).items():
        print(f"{name}: accuracy {about['accuracy']}, in {Path(sys.argv[1]) / name}")  # noqa: T201
