"""``python -m modelyard.runtime.launch DIR``: put the ``command`` engine's server under its limits, then become it.

Imports as little as it can: all of its time and memory is added to the server's start.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from modelyard.runtime import limits, record
from modelyard.runtime.errors import EXIT_LIMITS, EXIT_LOAD_FAILURE, LimitsFailure, LoadFailure


def main(folder: Path) -> NoReturn:
    """Apply the limits of ``folder``/instance.json and exec its command. Returns by exit only:
    3 if the command cannot be run, 4 if the limits cannot be applied."""
    record.write_process(folder)
    instance = json.loads((folder / "instance.json").read_bytes())
    try:
        port, command = _command(instance)
        limits.apply(
            memory=instance["resources"].get("memory"),
            shared_memory=instance.get("shared_memory"),
            working_dir=instance.get("working_dir"),
        )
        _become(command, {**os.environ, "PORT": str(port)})
    except LoadFailure as failure:
        sys.stderr.write(f"{failure.message}\n")
        record.write_failure(folder, failure)
        sys.exit(EXIT_LIMITS if isinstance(failure, LimitsFailure) else EXIT_LOAD_FAILURE)


def _command(instance: dict[str, Any]) -> tuple[int, list[str]]:
    """The port (options.port, else the one that the backend chose, in PORT) and the words to exec."""
    options = instance["options"]
    port = options.get("port") or os.environ.get("PORT")
    if port is None:
        raise LoadFailure("no_port", "The command engine was given no port: neither options.port nor PORT is set.")
    return int(port), [word.replace("{port}", str(port)) for word in options["command"]]


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - words, no shell: as its user wrote them
    except FileNotFoundError as error:
        raise LoadFailure(
            "command_not_found",
            f"options.command: there is no program {command[0]!r} on this machine: install it, or give its full path.",
        ) from error
    except OSError as error:
        raise LoadFailure(
            "command_not_runnable", f"options.command: {command[0]!r} cannot be run: {error.strerror}."
        ) from error


if __name__ == "__main__":
    main(Path(sys.argv[1]))
