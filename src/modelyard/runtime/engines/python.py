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

With ``batching = True`` in the class (or ``options.batching`` in the spec) a plain ``predict`` gets the rows of
several requests at once, one after the other along the first dimension of all inputs, if their parameters are the same;
its outputs must have as many rows. If it raises, it is called again for each request alone.

A ``predict`` that yields (``yield {"text": ...}``), plain or async, answers in pieces: a caller of ``generate_stream``
gets each as soon as it is there, others get them joined along the first dimension.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import inspect
import logging
import sys
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from modelyard.domain.batching import OPTION
from modelyard.runtime.engines.base import (
    AsyncModel,
    Batching,
    Inputs,
    LoadOptions,
    Model,
    Outputs,
    StreamModel,
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
    streams = inspect.isgeneratorfunction(predict) or inspect.isasyncgenfunction(predict)
    batches = _batches(user, path, options, can=not (streams or inspect.iscoroutinefunction(predict)))
    if streams:
        return _StreamPython(signature, predict, arguments)
    if inspect.iscoroutinefunction(predict):
        return _AsyncPython(signature, predict, arguments)
    return _SyncPython(signature, predict, arguments, batches)


def _batches(user: Any, path: Path, options: LoadOptions, *, can: bool) -> bool:
    """Whether ``predict`` takes the rows of several requests at once."""
    declared = getattr(user, "batching", False)
    if type(declared) is not bool:
        raise LoadFailure(
            "invalid_model", f"Model.batching in {path} must be True or False; numbers are options.batching."
        )
    batches = declared or bool(options.options.get(OPTION))
    if batches and not can:
        raise LoadFailure(
            "invalid_model",
            f"{path}: only a plain predict can be given several requests at once, not one that is async or yields: "
            "leave batching out.",
        )
    return batches


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
    reads_parameters = True

    def __init__(self, signature: Signature, predict: Callable[..., Any], arguments: int, batches: bool) -> None:
        super().__init__(PLATFORM, signature)
        self._predict = predict
        self._arguments = arguments
        self.may_batch = batches

    def predict(self, inputs: Inputs, outputs: tuple[str, ...] | None, parameters: dict[str, Any]) -> Outputs:
        return _checked(self._predict(*(inputs, parameters)[: self._arguments]))

    def rows_together(self, wanted: Batching) -> int:
        return wanted.max_rows


class _AsyncPython(AsyncModel):
    def __init__(self, signature: Signature, predict: Callable[..., Any], arguments: int) -> None:
        super().__init__(PLATFORM, signature)
        self._predict = predict
        self._arguments = arguments

    async def predict(self, inputs: Inputs, outputs: tuple[str, ...] | None, parameters: dict[str, Any]) -> Outputs:
        return _checked(await self._predict(*(inputs, parameters)[: self._arguments]))


class _StreamPython(StreamModel):
    """A plain generator runs as a plain ``predict`` does: one at a time, in a thread."""

    def __init__(self, signature: Signature, predict: Callable[..., Any], arguments: int) -> None:
        super().__init__(PLATFORM, signature)
        self._predict = predict
        self._arguments = arguments
        self._blocks = inspect.isgeneratorfunction(predict)
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    async def stream(self, inputs: Inputs, parameters: dict[str, Any]) -> AsyncGenerator[Outputs, None]:
        pieces = self._predict(*(inputs, parameters)[: self._arguments])
        if not self._blocks:
            async with aclosing(pieces):
                async for piece in pieces:
                    yield _checked(piece)
            return
        loop = asyncio.get_running_loop()
        async with self._turn:
            try:
                while (piece := await loop.run_in_executor(self._thread, next, pieces, _END)) is not _END:
                    yield _checked(piece)
            finally:
                # Behind what it may still compute.
                self._thread.submit(pieces.close)


_END: Final = object()
