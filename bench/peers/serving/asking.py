"""What every server is asked, and whether its answer is right."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.serving.apps import digits
from modelyard.loadtest.payload import BINARY_HEADER, Body, as_binary

PATH = "/v2/models/digits/infer"
_SECONDS = 10
_TOLERANCE = 1e-4


class Wrong(Exception):
    """No answer, or one that is not the model's; the text says what there was."""


@dataclass(frozen=True)
class Question:
    """A body to send, and what the model makes of it."""

    body: Body
    label: Any
    probabilities: Any

    def ask(self, port: int, headers: dict[str, str]) -> None:
        """Raises Wrong."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        try:
            connection.request("POST", PATH, self.body.content, {**self.body.headers, **headers})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Wrong(f"no answer ({type(error).__name__})") from None
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise Wrong(f"status {answer.status}: {content[:200].decode(errors='replace')}")
        try:
            outputs = _outputs(content, answer.getheader(BINARY_HEADER))
            label, probabilities = np.ravel(outputs["label"]), np.ravel(outputs["probabilities"])
        except (ValueError, LookupError, TypeError) as error:
            raise Wrong(f"not V2: {error}: {content[:200]!r}") from None
        if not np.array_equal(label, self.label):
            raise Wrong("another label")
        if probabilities.shape != self.probabilities.shape:
            raise Wrong("probabilities of another shape")
        if not np.allclose(probabilities, self.probabilities, atol=_TOLERANCE):
            raise Wrong("other probabilities")

    @property
    def is_binary(self) -> bool:
        return BINARY_HEADER in self.body.headers


def questions(model: Path) -> dict[str, Question]:
    """By what they are called in the report."""
    one, many = _request(1), _request(32)
    header = {"Content-Type": "application/json"}
    return {
        "JSON, 1 row": _question(model, one, Body(header, json.dumps(one).encode())),
        "JSON, 32 rows": _question(model, many, Body(header, json.dumps(many).encode())),
        "binary, 32 rows": _question(model, many, as_binary(many)),
    }


def _request(rows: int) -> dict[str, Any]:
    values = np.random.default_rng(rows).random(rows * 64).round(5).tolist()
    return {"inputs": [{"name": "input", "shape": [rows, 64], "datatype": "FP32", "data": values}]}


def _question(model: Path, request: dict[str, Any], body: Body) -> Question:
    label, probabilities = (output["data"] for output in digits.answer(digits.load(model), request)["outputs"])
    return Question(body, np.array(label), np.array(probabilities))


def _outputs(content: bytes, length: str | None) -> dict[str, Any]:
    head = int(length) if length else len(content)
    found, offset = {}, head
    for output in json.loads(content[:head])["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            found[output["name"]] = output["data"]
        else:
            kind = {"INT64": np.int64, "FP32": np.float32}[output["datatype"]]
            found[output["name"]] = np.frombuffer(content[offset : offset + size], kind)
            offset += size
    return found
