"""The arguments of ``python -m modelyard.runtime``: one of a backend's instances, or a server of its own, of one model
or (``serve``) of many."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import NoReturn


def main(arguments: list[str]) -> NoReturn:
    # A backend starts it so, and waits: no argument parser, and no garbage collections while modules load.
    if len(arguments) == 2 and arguments[0] == "--instance":
        gc.disable()
        serve_instance(Path(arguments[1]))
    if arguments[:1] == ["serve"]:
        gc.disable()
        from modelyard.runtime.manager.server import main as serve

        sys.exit(serve(arguments[1:]))
    _serve_alone(arguments)


def serve_instance(folder: Path) -> NoReturn:
    from modelyard.runtime import limits, record
    from modelyard.runtime.errors import EXIT_LIMITS, EXIT_LOAD_FAILURE, LimitsFailure, LoadFailure, out_of_memory

    record.write_process(folder)
    memory = None
    try:
        from modelyard.runtime import engines, instance

        description = instance.read(folder)
        memory = description.resources.memory
        engines.check_memory(description.engine, memory)
        limits.apply(memory=memory, shared_memory=description.shared_memory, working_dir=description.working_dir)
        from modelyard.runtime import worker
    except (LoadFailure, ImportError, MemoryError) as error:
        # Under a tight limit even the libraries' own files cannot be loaded.
        failure = error if isinstance(error, LoadFailure) else out_of_memory(memory, "The worker itself")
        sys.stderr.write(f"{failure.message}\n")
        record.write_failure(folder, failure)
        sys.exit(EXIT_LIMITS if isinstance(failure, LimitsFailure) else EXIT_LOAD_FAILURE)
    worker.run(folder.absolute(), description)


def _serve_alone(arguments: list[str]) -> NoReturn:
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m modelyard.runtime",
        description="Serve one model over HTTP (Open Inference Protocol V2).",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="PATH", help="the model's file or folder")
    parser.add_argument("--engine", help="onnx, sklearn, python or mock; else told by the path")
    parser.add_argument("--name", help="the name to serve it under; else taken from the path")
    parser.add_argument("--host", default="127.0.0.1", help="the address to bind to (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8901, help="the port to bind to, 0 for any (default: %(default)s)")
    parser.add_argument("--trusted", action="store_true", help="load it even if loading can run code (a pickle)")
    options = parser.parse_args(arguments)

    from modelyard.runtime import http, listening
    from modelyard.runtime.errors import EXIT_LOAD_FAILURE, LoadFailure

    try:
        app = http.create_app(options.model, engine=options.engine, name=options.name, trusted=options.trusted)
    except LoadFailure as failure:
        sys.stderr.write(f"{failure.code}: {failure.message}\n")
        sys.exit(EXIT_LOAD_FAILURE)
    sys.exit(listening.serve(app, options.host, options.port))


if __name__ == "__main__":
    main(sys.argv[1:])
