"""What of a spec cannot be had on this machine now. Paths are relative to the spec."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from modelyard.backends.local import machine
from modelyard.backends.local.devices import HOW_TO_DECLARE
from modelyard.backends.local.files import DEVICE_VARIABLES
from modelyard.domain.capacity import Inventory
from modelyard.domain.errors import Problem
from modelyard.domain.names import InvalidReference
from modelyard.domain.quantities import format_bytes, format_duration
from modelyard.domain.spec import Engine, Spec
from modelyard.threads import apart

# A file system that does not answer for so long (seconds: a network drive whose server is away) is a problem.
PATIENCE: Final = 15.0


async def problems(spec: Spec, inherited: Mapping[str, str], inventory: Inventory) -> list[Problem]:
    """All of them at once, within :data:`PATIENCE`; ``inherited`` is the environment that instances start from,
    ``inventory`` what the machine has."""
    container, checked = spec.container, bool(spec.container.health_check.command)
    # A thread only where there is something to look for: each one costs a busy control process a millisecond.
    looks: list[tuple[str, Callable[[], Iterator[Problem]]]] = []
    if spec.source is not None:
        looks.append(("source", lambda: _source(spec)))
    if container.working_dir is not None or container.shared_memory is not None:
        looks.append(("container", lambda: _surroundings(spec, inventory)))
    if spec.engine is Engine.COMMAND or checked:
        looks.append(("options", lambda: _commands(spec, {**inherited, **container.environment})))
    found = await asyncio.gather(*(_look(path, look) for path, look in looks))
    return [*_resources(spec, inventory), *_reserved(spec, inventory), *(problem for part in found for problem in part)]


async def _look(path: str, look: Callable[[], Iterator[Problem]]) -> list[Problem]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await apart(lambda: list(look()), f"check {path}")
    except TimeoutError:
        message = (
            f"The machine did not answer within {format_duration(PATIENCE)} when asked for the files that {path} "
            "names: is a network file system hung?"
        )
        return [Problem(path, "unreachable", message)]


def _source(spec: Spec) -> Iterator[Problem]:
    try:
        text = spec.source_path
    except InvalidReference:
        return  # the domain's own check says so
    if text is None:
        return
    path = Path(text)
    try:
        is_folder = path.stat().st_mode & 0o170000 == 0o040000
    except OSError as error:
        yield Problem("source", "not_found", _unreachable(path, error))
        return
    if spec.engine is Engine.PYTHON:
        if not is_folder:
            yield Problem("source", "wrong_kind", f"{path} is a file; the python engine needs a folder with model.py.")
        elif not (path / "model.py").is_file():
            yield Problem("source", "not_found", f"There is no model.py in {path}.")
        elif not os.access(path / "model.py", os.R_OK):
            yield Problem("source", "not_readable", f"{path / 'model.py'} may not be read by this user.")
    elif spec.engine in (Engine.ONNX, Engine.SKLEARN) and is_folder:
        yield Problem("source", "wrong_kind", f"{path} is a folder; the {spec.engine} engine needs a file.")
    elif not os.access(path, os.R_OK | (os.X_OK if is_folder else 0)):
        yield Problem("source", "not_readable", f"{path} may not be read by this user.")


def _unreachable(path: Path, error: OSError) -> str:
    if path.is_symlink():
        return f"{path} is a symbolic link to {path.readlink()}, which cannot be reached: {error.strerror}."
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist."
    return f"{path} cannot be reached: {error.strerror}."


def _resources(spec: Spec, inventory: Inventory) -> Iterator[Problem]:
    gpus, cpu, memory = spec.resources.gpus, spec.resources.cpu, spec.resources.memory
    if gpus > (there := len(inventory.devices)):
        has = f"has {there}" if there else f"has none that Modelyard knows of. {HOW_TO_DECLARE}"
        message = f"{gpus} GPU{'s' if gpus > 1 else ''} asked for, and this machine {has.rstrip('.')}."
        yield Problem("resources.gpus", "exceeds_machine", message)
    if cpu is not None and cpu > inventory.cpu:
        message = f"{cpu:g} cores are more than Modelyard may use on this machine ({inventory.cpu:g})."
        yield Problem("resources.cpu", "exceeds_machine", message)
    if memory is None:
        return
    if memory > inventory.memory:
        message = f"{format_bytes(memory)} is more than this machine has ({_rough(inventory.memory)})."
        yield Problem("resources.memory", "exceeds_machine", message)
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard != resource.RLIM_INFINITY and memory > hard:
        message = f"{format_bytes(memory)} is more than Modelyard's own processes may use (RLIMIT_DATA {_rough(hard)})."
        yield Problem("resources.memory", "exceeds_limit", message)


def _reserved(spec: Spec, inventory: Inventory) -> Iterator[Problem]:
    """Where devices are given out, an instance that chose its own would take another's."""
    for name in DEVICE_VARIABLES if inventory.devices else ():
        if name in spec.container.environment:
            message = f"On a machine with GPUs Modelyard sets {name}: set resources.gpus instead."
            yield Problem(f"container.environment.{name}", "reserved_name", message)


def _surroundings(spec: Spec, inventory: Inventory) -> Iterator[Problem]:
    container = spec.container
    if container.working_dir is not None:
        path = Path(container.working_dir)
        if not path.is_dir():
            state = "is not a folder" if path.exists() else "does not exist"
            yield Problem("container.working_dir", "not_found", f"{path} {state} on this machine.")
        elif not os.access(path, os.X_OK):
            yield Problem("container.working_dir", "not_readable", f"{path} may not be entered by this user.")
    size = container.shared_memory
    if size is None:
        return
    bound = spec.resources.memory or inventory.memory
    if size > bound:
        what = "resources.memory" if spec.resources.memory else "the memory of this machine"
        message = f"{format_bytes(size)} is more than {what} ({_rough(bound)})."
        yield Problem("container.shared_memory", "exceeds_machine", message)
    elif (refusal := machine.shared_memory_refusal()) is not None:
        yield Problem("container.shared_memory", "unsupported", refusal)


def _commands(spec: Spec, environment: Mapping[str, str]) -> Iterator[Problem]:
    command = spec.options.get("command") if spec.engine is Engine.COMMAND else None
    if isinstance(command, (list, tuple)) and command:
        yield from _program("options.command[0]", str(command[0]), spec, environment)
    if spec.container.health_check.command:
        program = spec.container.health_check.command[0]
        yield from _program("container.health_check.command[0]", program, spec, environment)


def _program(path: str, program: str, spec: Spec, environment: Mapping[str, str]) -> Iterator[Problem]:
    if "/" in program:
        # Relative to where it will run; without a working folder that is a new, empty one.
        file = Path(spec.container.working_dir or "/nonexistent", program)
        if not file.is_file():
            yield Problem(path, "not_found", f"There is no program {program} on this machine.")
        elif not os.access(file, os.X_OK):
            yield Problem(path, "not_executable", f"{program} is not executable: chmod +x it.")
    elif shutil.which(program, path=environment.get("PATH", os.defpath)) is None:
        message = f"There is no program {program!r} in the PATH: install it, or give its full path."
        yield Problem(path, "not_found", message)


def _rough(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
