"""The python engine with folders as users write them, and the mock engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.runtime import engines
from modelyard.runtime.engines.base import AsyncModel, LoadOptions, Model, SyncModel
from modelyard.runtime.errors import LoadFailure
from modelyard.runtime.signature import TensorSpec

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def keep_modules() -> Iterator[None]:
    """A worker loads one model and ends; here many load in one process."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("model", "neighbour"):
            del sys.modules[name]


def load(folder: Path) -> Model:
    return engines.load("python", LoadOptions(folder))


def failure(folder: Path) -> LoadFailure:
    with pytest.raises(LoadFailure) as caught:
        load(folder)
    return caught.value


def predict(model: Model, inputs: dict[str, Any], parameters: dict[str, Any] | None = None) -> Any:
    assert isinstance(model, SyncModel)
    return model.predict(inputs, None, parameters or {})


def test_model_is_loaded_with_its_folder_and_predicts(python_model: Write) -> None:
    folder = python_model(
        """
class Model:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [-1]}]
    outputs = [{"name": "y", "datatype": "FP32", "shape": [-1]}]
    def load(self, folder):
        self.factor = float((folder / "factor.txt").read_text())
    def predict(self, inputs):
        return {"y": inputs["x"] * self.factor}
"""
    )
    (folder / "factor.txt").write_text("3")
    model = load(folder)
    assert model.signature.inputs == (TensorSpec("x", "FP32", (-1,)),)
    assert model.signature.outputs == (TensorSpec("y", "FP32", (-1,)),)
    assert predict(model, {"x": np.array([2.0])})["y"].tolist() == [6]


def test_neighbours_can_be_imported_and_parameters_are_passed_on(python_model: Write) -> None:
    folder = python_model(
        """
from neighbour import NAME
class Model:
    def predict(self, inputs, parameters):
        return {"y": [NAME, parameters["p"]]}
"""
    )
    (folder / "neighbour.py").write_text("NAME = 'n'")
    assert predict(load(folder), {}, {"p": "q"}) == {"y": ["n", "q"]}


async def test_async_models_predict_on_the_loop(python_model: Write) -> None:
    model = load(python_model("class Model:\n    async def predict(self, inputs):\n        return {'y': [1]}\n"))
    assert isinstance(model, AsyncModel)
    assert await model.predict({}, None, {}) == {"y": [1]}


@pytest.mark.parametrize(
    ("source", "code", "permanent", "said"),
    [
        ("x = (", "invalid_model", True, "not valid Python"),
        ("x = 1", "invalid_model", True, "no class Model"),
        ("Model = 3", "invalid_model", True, "no class Model"),
        ("class Model: pass", "invalid_model", True, "predict"),
        ("import surely_not_installed", "missing_module", True, "surely_not_installed"),
        ("raise ValueError('no weights today')", "model_error", False, "no weights today"),
        ("raise SystemExit(3)", "model_error", False, "SystemExit"),
        (
            "class Model:\n  def load(self, folder): 1 / 0\n  def predict(self, i): ...",
            "model_error",
            False,
            "division",
        ),
        ("class Model:\n  inputs = [{}]\n  def predict(self, i): ...", "invalid_model", True, "name"),
        (
            "class Model:\n  inputs = [{'name': 'x', 'datatype': 'FP31', 'shape': []}]\n  def predict(self, i): ...",
            "invalid_model",
            True,
            "FP31",
        ),
        ("raise ImportError('x.so: failed to map segment from shared object')", "out_of_memory", True, "memory"),
    ],
)
def test_models_that_cannot_be_loaded_say_why(
    python_model: Write, source: str, code: str, permanent: bool, said: str
) -> None:
    reason = failure(python_model(source))
    assert (reason.code, reason.permanent) == (code, permanent)
    assert said in reason.message


def test_paths_that_are_no_model_folder_are_refused(home: Path, python_model: Write) -> None:
    assert failure(home / "none").code == "missing_file"
    (home / "empty").mkdir()
    assert failure(home / "empty").code == "missing_file"
    (home / "file.py").write_text("class Model: ...")
    assert failure(home / "file.py").code == "not_a_folder"


def test_model_that_a_link_leads_out_to_is_refused(home: Path) -> None:
    (home / "outside.py").write_text("raise SystemExit")
    (home / "m").mkdir()
    (home / "m" / "model.py").symlink_to(home / "outside.py")
    assert failure(home / "m").code == "path_escape"


def test_answer_that_is_no_dict_is_the_models_fault(python_model: Write) -> None:
    model = load(python_model("class Model:\n  def predict(self, inputs): return [1]"))
    with pytest.raises(Exception, match="returned list"):
        predict(model, {})


# ------------------------------------------------------------------ mock


def test_mock_without_outputs_answers_with_its_inputs() -> None:
    inputs = {"x": np.array([1])}
    assert predict(engines.load("mock", LoadOptions()), inputs) is inputs


async def test_mock_with_outputs_answers_with_them_after_its_latency() -> None:
    tensor = {"name": "y", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    model = engines.load("mock", LoadOptions(options={"outputs": [tensor], "latency_ms": 1}))
    assert isinstance(model, AsyncModel)
    assert model.signature.outputs == (TensorSpec("y", "BYTES", (1,)),)
    assert (await model.predict({}, None, {}))["y"].tolist() == [b"a"]


def test_mock_with_outputs_that_are_no_tensors_says_which_field() -> None:
    tensor = {"name": "y", "datatype": "FP32", "shape": [2], "data": [1]}
    with pytest.raises(LoadFailure, match=r"options.outputs\[0\].data") as caught:
        engines.load("mock", LoadOptions(options={"outputs": [tensor]}))
    assert caught.value.code == "invalid_options"


def test_unknown_engine_is_refused_by_name() -> None:
    with pytest.raises(LoadFailure, match="'torch'"):
        engines.load("torch", LoadOptions())
