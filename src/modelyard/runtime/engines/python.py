"""The ``python`` engine: a folder with ``model.py``, which has a class ``Model``.

::

    class Model:
        inputs = [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]    # optional; checked if given
        outputs = [{"name": "y", "datatype": "FP32", "shape": [-1]}]      # optional

        def load(self, folder: pathlib.Path) -> None: ...                  # optional
        def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...

``predict`` may take a second argument, the request's ``parameters``. A plain ``predict`` runs one request
at a time, in a thread; an ``async def predict`` runs on the event loop, many at once, and must not block.
Arrays may be read-only; those of BYTES hold Python bytes. The folder is on the module path, so ``model.py``
may import its neighbours.
"""

from __future__ import annotations

import gc
import importlib.util
import inspect
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from modelyard.runtime.engines.base import (
    AsyncModel,
    Inputs,
    LoadOptions,
    Model,
    Outputs,
    SyncModel,
    is_inside,
    source_folder,
)
from modelyard.runtime.errors import LoadFailure, RequestError, is_out_of_memory
from modelyard.runtime.signature import DATATYPES, Signature, TensorSpec

PLATFORM = "python"
_MODULE = "model"

_log = logging.getLogger("modelyard.runtime")


def load(options: LoadOptions) -> Model:
    folder = source_folder(options, "python")
    path = folder / "model.py"
    if not path.is_file():
        raise LoadFailure("missing_file", f"There is no model.py in {folder}.")
    if not is_inside(path, folder):
        raise LoadFailure("path_escape", f"{path} leads out of its folder: put model.py itself there.")
    user = _instantiate(_import(path, folder), path, folder)
    predict = getattr(user, "predict", None)
    if not callable(predict):
        raise LoadFailure("invalid_model", f"The class Model in {path} has no method predict(inputs).")
    signature = Signature(_specs(user, "inputs", path), _specs(user, "outputs", path))
    arguments = _arguments(predict)
    if inspect.iscoroutinefunction(predict):
        return _AsyncPython(signature, predict, arguments)
    return _SyncPython(signature, predict, arguments)


def _import(path: Path, folder: Path) -> ModuleType:
    # A worker loads its own modules without collections (see __main__); what this one loads is unknown.
    gc.enable()
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise LoadFailure(
            "missing_module",
            f"{path} needs the module {error.name!r}, which is not installed in {sys.prefix}: install it there, or put "
            "it beside model.py.",
        ) from error
    except SyntaxError as error:
        raise LoadFailure("invalid_model", f"{path} is not valid Python: {error}") from error
    except (Exception, SystemExit) as error:
        raise _failed(f"Importing {path}", error) from error
    return module


def _instantiate(module: ModuleType, path: Path, folder: Path) -> Any:
    kind = getattr(module, "Model", None)
    if not inspect.isclass(kind):
        raise LoadFailure("invalid_model", f"{path} has no class Model.")
    try:
        user = kind()
        if hasattr(user, "load"):
            user.load(folder)
    except (Exception, SystemExit) as error:
        raise _failed(f"Model.load of {path}", error) from error
    return user


def _failed(what: str, error: BaseException) -> BaseException:
    if is_out_of_memory(error):
        return error
    _log.error("%s failed", what, exc_info=error)
    # What a model loads may lie elsewhere and come back: worth another try.
    return LoadFailure("model_error", f"{what} failed: {type(error).__name__}: {error}", permanent=False)


def _specs(user: Any, name: str, path: Path) -> tuple[TensorSpec, ...] | None:
    declared = getattr(user, name, None)
    if declared is None:
        return None
    try:
        specs = tuple(
            TensorSpec(str(entry["name"]), entry["datatype"], tuple(int(size) for size in entry["shape"]))
            for entry in declared
        )
    except (TypeError, KeyError, ValueError) as error:
        raise LoadFailure(
            "invalid_model", f'Model.{name} in {path} must be a list of {{"name", "datatype", "shape"}}: {error!r}.'
        ) from error
    for spec in specs:
        if spec.datatype not in DATATYPES:
            known = ", ".join(DATATYPES)
            raise LoadFailure("invalid_model", f"Model.{name} in {path}: {spec.datatype!r} is none of {known}.")
    return specs


def _arguments(predict: Callable[..., Any]) -> int:
    """How many of (inputs, parameters) ``predict`` takes."""
    try:
        inspect.signature(predict).bind({}, {})
    except TypeError:
        return 1
    return 2


def _checked(answer: Any) -> Outputs:
    if not isinstance(answer, dict):
        raise RequestError(
            500, "model_error", f"Model.predict returned {type(answer).__name__}, not a dict of arrays by name."
        )
    return answer


class _SyncPython(SyncModel):
    def __init__(self, signature: Signature, predict: Callable[..., Any], arguments: int) -> None:
        super().__init__(PLATFORM, signature)
        self._predict = predict
        self._arguments = arguments

    def predict(self, inputs: Inputs, outputs: tuple[str, ...] | None, parameters: dict[str, Any]) -> Outputs:
        return _checked(self._predict(*(inputs, parameters)[: self._arguments]))


class _AsyncPython(AsyncModel):
    def __init__(self, signature: Signature, predict: Callable[..., Any], arguments: int) -> None:
        super().__init__(PLATFORM, signature)
        self._predict = predict
        self._arguments = arguments

    async def predict(self, inputs: Inputs, outputs: tuple[str, ...] | None, parameters: dict[str, Any]) -> Outputs:
        return _checked(await self._predict(*(inputs, parameters)[: self._arguments]))
