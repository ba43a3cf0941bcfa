"""The arguments of ``serve``, as a process is given them."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard.runtime.manager.config import Environment, ProgressiveLoadingConfig

_PORT: Final = 8900


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """``models``: names, empty if the path tells, and absolute paths; ``mocks``: by name the file with what they
    answer, None if with their inputs."""

    models: tuple[tuple[str, Path], ...]
    mocks: dict[str, Path | None]
    host: str
    port: int
    reload: bool
    cors: tuple[str, ...]
    critical: tuple[str, ...]
    trusted: bool
    config: ProgressiveLoadingConfig


def parse(arguments: list[str]) -> Arguments:
    """Exits with 2 if they are not valid."""
    options = _parser().parse_args(arguments)
    names = [_named(text) for text in options.models]
    mocks = [text.partition("=") for text in options.mock]
    return Arguments(
        models=tuple((name, Path(path).absolute()) for name, path in names),
        mocks={name: Path(file).absolute() if file else None for name, _, file in mocks},
        host=options.host,
        port=options.port,
        reload=options.reload,
        cors=tuple(options.cors),
        critical=tuple(options.critical),
        trusted=options.trusted,
        config=ProgressiveLoadingConfig(
            environment=options.environment,
            preload="all" if "all" in options.preload else options.preload or None,
            max_parallel_loads=options.max_parallel_loads,
            memory_budget=options.memory_budget.removesuffix("B") if options.memory_budget else None,
            startup_timeout=options.startup_timeout,
            threads=options.threads,
        ),
    )


def _named(text: str) -> tuple[str, str]:
    """A name, empty for none, and a path, which may have a = of its own: after a slash, or after the first one."""
    name, equals, path = text.partition("=")
    return (name, path) if equals and "/" not in name else ("", text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modelyard serve", description="Serve models from files, for development.")
    parser.add_argument("models", nargs="*", metavar="[NAME=]PATH", help="a model, or a folder of models")
    parser.add_argument("--host", default="", help="the address to bind to (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=int(os.environ.get("MODELYARD_PORT") or _PORT))
    parser.add_argument("--reload", action="store_true", help="load anew what changes")
    parser.add_argument("--mock", action="append", default=[], metavar="NAME[=FILE]")
    parser.add_argument("--cors", action="append", default=[], metavar="ORIGIN")
    parser.add_argument("--critical", action="append", default=[], metavar="NAME")
    parser.add_argument("--preload", action="append", default=[], metavar="NAME")
    parser.add_argument("--max-parallel-loads", type=int, default=1, metavar="N")
    parser.add_argument("--memory-budget", metavar="SIZE")
    parser.add_argument("--startup-timeout", type=float, metavar="SECONDS")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--environment", choices=[environment.value for environment in Environment])
    parser.add_argument("--trusted", action="store_true")
    return parser
