"""What an engine makes of a model, and what all engines ask of a model's source."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from modelyard.domain.batching import OPTION, problems
from modelyard.runtime.errors import LoadFailure
from modelyard.runtime.signature import Array, Signature

Inputs = dict[str, Array]
Outputs = Mapping[str, Array]


class LoadOptions(msgspec.Struct, frozen=True):
    """``source``: where the model is (None: the engine needs none); ``threads`` it may compute with;
    ``memory``: the process's limit in bytes, for messages; ``trusted``: its code may run on loading."""

    source: Path | None = None
    options: Mapping[str, Any] = {}
    trusted: bool = False
    threads: int = 1
    memory: int | None = None


class Batching(msgspec.Struct, frozen=True):
    """How requests may share a run: at most ``max_rows`` rows of all of them, and none waits for others longer than
    ``max_delay`` (seconds). ``chosen``: the model's owner has asked for it."""

    max_rows: int = 64
    max_delay: float = 0.0
    chosen: bool = False


class Model:
    """A loaded model. ``concurrency``: how many predictions may run at once; ``batching``: None if each request is
    to run alone."""

    batching: Batching | None = None

    def __init__(self, platform: str, signature: Signature, concurrency: int = 1) -> None:
        self.platform = platform
        self.signature = signature
        self.concurrency = concurrency


class SyncModel(Model):
    """Predicts in the calling thread. ``may_use_loop``: quick predictions may run on the event loop. Not those
    of a user's code, in which one that waits for something can follow any number of quick ones: it would
    hold up health checks, cancellations and the end."""

    may_use_loop: ClassVar[bool] = False
    # Whether :meth:`rows_together` is worth asking.
    may_batch: bool = False
    # Whether what ``predict`` answers depends on its parameters.
    reads_parameters: bool = False

    def predict(self, inputs: Inputs, outputs: tuple[str, ...] | None, parameters: dict[str, Any]) -> Outputs:
        """Run the model on checked ``inputs``, which may be read-only. It need compute only ``outputs``
        (None: all) and may answer with more.

        Raises:
            RequestError: if the fault lies in the request; any other exception is the model's failure.
        """
        raise NotImplementedError

    def rows_together(self, wanted: Batching) -> int:
        """Of how many rows (along the first dimension of all inputs and outputs) each one's answer is known to be the
        same whether it runs alone or with the others: at most ``wanted.max_rows``, below 2 if of none. May take
        long; called in a thread, beside predictions."""
        return 0


class AsyncModel(Model):
    """Predicts on the event loop, as many requests at once as come; it must not block the loop."""

    async def predict(self, inputs: Inputs, outputs: tuple[str, ...] | None, parameters: dict[str, Any]) -> Outputs:
        """As :meth:`SyncModel.predict`."""
        raise NotImplementedError


class StreamModel(Model):
    """Answers in pieces. Runs on the event loop, which it must not block."""

    def stream(self, inputs: Inputs, parameters: dict[str, Any]) -> AsyncGenerator[Outputs, None]:
        """The outputs piece by piece; failures as those of :meth:`SyncModel.predict`."""
        raise NotImplementedError


def source_file(options: LoadOptions, suffixes: tuple[str, ...], engine: str) -> Path:
    """The model's file, known to be there and readable.

    Raises:
        LoadFailure: (``no_source``, ``missing_file``, ``not_a_file``, ``wrong_suffix``, ``unreadable``)
    """
    path = _source(options, engine)
    wanted = " or ".join(suffixes)
    if path.is_dir():
        raise LoadFailure("not_a_file", f"{path} is a folder: give the {wanted} file in it.")
    if path.suffix.lower() not in suffixes:
        raise LoadFailure("wrong_suffix", f"{path} is not a {wanted} file, which the {engine} engine serves.")
    if not os.access(path, os.R_OK):
        raise LoadFailure("unreadable", f"{path} may not be read by this user (uid {os.geteuid()}).")
    if path.stat().st_size == 0:
        raise LoadFailure("corrupt_file", f"{path} is empty.")
    return path


def source_folder(options: LoadOptions, engine: str) -> Path:
    """The model's folder, known to be there.

    Raises:
        LoadFailure: (``no_source``, ``missing_file``, ``not_a_folder``)
    """
    path = _source(options, engine)
    if not path.is_dir():
        raise LoadFailure("not_a_folder", f"{path} is a file: the {engine} engine serves a folder.")
    return path


def batching(options: Mapping[str, Any]) -> Batching | None:
    """What the engine's ``options`` say of batching: ``false``, or ``{"max_rows": 64, "max_delay_ms": 0}``.

    Raises:
        LoadFailure: (``invalid_options``)
    """
    chosen = options.get(OPTION)
    if chosen is None:
        return Batching()
    if chosen is False:
        return None
    found = list(problems(chosen))
    if found:
        raise LoadFailure("invalid_options", " ".join(f"{problem.path}: {problem.message}" for problem in found))
    return Batching(chosen.get("max_rows", Batching().max_rows), chosen.get("max_delay_ms", 0) / 1000, True)


def _source(options: LoadOptions, engine: str) -> Path:
    if options.source is None:
        raise LoadFailure("no_source", f"The {engine} engine needs a source.")
    if not options.source.exists():
        raise LoadFailure("missing_file", f"There is no {options.source}.")
    return options.source


def is_inside(path: Path, folder: Path) -> bool:
    """Whether ``path``, links followed, lies in ``folder``, links followed."""
    return path.resolve().is_relative_to(folder.resolve())
