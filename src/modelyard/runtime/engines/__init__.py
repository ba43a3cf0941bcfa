"""What runs the weights: one module an engine, imported only when a model asks for it.

To add one: a module with ``load(options: LoadOptions) -> Model``, and an entry in :data:`ENGINES`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final, NamedTuple

from modelyard.runtime.errors import LoadFailure, is_out_of_memory, out_of_memory

if TYPE_CHECKING:
    from modelyard.runtime.engines.base import LoadOptions, Model


class _Engine(NamedTuple):
    """``minimum_memory``: MiB of private memory that the engine takes with the smallest model, measured
    (VmData). Below it some of its libraries end or hang the process instead of reporting a failure."""

    module: str
    minimum_memory: int


ENGINES: Final = {
    "onnx": _Engine("modelyard.runtime.engines.onnx", 88),
    "sklearn": _Engine("modelyard.runtime.engines.sklearn", 192),
    "python": _Engine("modelyard.runtime.engines.python", 72),
    "mock": _Engine("modelyard.runtime.engines.mock", 72),
}


def check_memory(engine: str, memory: int | None) -> None:
    """Refuse a memory limit (bytes; None: none) under which the engine itself could not start.

    Raises:
        LoadFailure: (``out_of_memory``)
    """
    needed = _find(engine).minimum_memory
    if memory is not None and memory < needed * 2**20:
        raise LoadFailure(
            "out_of_memory",
            f"resources.memory is {memory / 2**20:g} MiB, but the {engine} engine alone takes {needed} MiB: raise it "
            "above that, by what the model needs.",
        )


def load(engine: str, options: LoadOptions) -> Model:
    """Load a model.

    Raises:
        LoadFailure: with a stable code and what to do about it, whatever went wrong.
    """
    try:
        from modelyard.runtime.engines.base import batching

        wanted = batching(options.options)
        model: Model = importlib.import_module(_find(engine).module).load(options)
    except LoadFailure:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(options.memory, "Loading the model") from error
        if isinstance(error, ImportError):
            raise LoadFailure(
                "engine_unavailable", f"The {engine} engine cannot be used in this installation: {error}."
            ) from error
        raise
    model.batching = wanted
    return model


def _find(engine: str) -> _Engine:
    found = ENGINES.get(engine)
    if found is None:
        raise LoadFailure("unknown_engine", f"The engine {engine!r} has no worker; there are {', '.join(ENGINES)}.")
    return found
