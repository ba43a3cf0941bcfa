"""What the server and the library say, in the words of the command line that was typed: commands that they suggest get
the options of the call, and fields of requests become the options that set them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.cli.context import Cli

# A command within a text: to the quote or backtick that it ends at, or the text's end. Sentences write Modelyard.
_COMMAND = re.compile(r"(?<![\w./-])modelyard (?=[a-z])([^`'\n]*)(?=(`)?)")

# Fields whose option is called otherwise.
_OPTIONS: Mapping[str, str] = {
    "daily": "day", "environment": "env", "exceptions": "off", "expires_at": "expires", "health_check": "health-path",
    "lasting": "for", "names": "model", "per_second": "rate", "recurring": "start",
}  # fmt: skip


def completed(text: str, cli: Cli) -> str:
    """``text``, in which each command that it suggests works as it stands where this call did."""
    return _COMMAND.sub(lambda found: _complete(found[1], cli, is_quoted=found[2] is not None), text)


def _complete(rest: str, cli: Cli, *, is_quoted: bool) -> str:
    given: dict[str, object] = {"--home": cli.home}
    if not rest.startswith(("up", "down")):
        of_rest = set(rest.split())
        namespace = None if of_rest & {"-n", "--namespace", "-A", "--installation", "namespace"} else cli.namespace
        given = {"-n": namespace, "--url": cli.url, "--token-file": cli.token_file, "--ca": cli.ca, **given}
    options = "".join(f"{name} {shlex.quote(str(value))} " for name, value in given.items() if value is not None)
    is_whole = cli.context is not None and cli.context.params.get("installation")
    whole = is_quoted and is_whole and rest.startswith(("webhooks ", "alerts ")) and "--installation" not in rest
    return f"modelyard {options}{rest}{' --installation' if whole else ''}"


def field(path: str, cli: Cli) -> str:
    """The option, argument or path within a file by which the field ``path`` of a request was set."""
    if cli.context is None or cli.context.params.get("file"):
        return path
    bare = path.removeprefix("spec.")
    for item in cli.context.params.get("settings") or ():
        set_path = str(item).partition("=")[0]
        if f"{bare}.".startswith(f"{set_path}.") or f"{set_path}.".startswith(f"{bare}."):
            return f"--set {bare}"
    known = dict(_named(cli, given=False))
    typed = dict(_named(cli, given=True))
    parts = [part for part in re.split(r"[.\[\]]+", bare) if part][::-1]
    for names in (typed, known):
        for part in parts:
            for name in (part.replace("_", "-"), part.removesuffix("s"), _OPTIONS.get(part, "")):
                if name in names:
                    return names[name]
    return path


def _named(cli: Cli, *, given: bool) -> Iterator[tuple[str, str]]:
    """The command's own options and arguments by their names; with ``given`` only those of this call."""
    from modelyard.cli.context import SHARED_OPTIONS

    assert cli.context is not None
    for parameter in cli.context.command.params:
        name = str(parameter.name)
        source = cli.context.get_parameter_source(name)
        if name in SHARED_OPTIONS or (given and (source is None or source.name != "COMMANDLINE")):
            continue
        if parameter.param_type_name == "argument":
            yield name, parameter.make_metavar(cli.context).strip("[]")
        else:
            # `--wait/--no-wait` and the like set what is in no request's field.
            yield from ((option.removeprefix("--"), option) for option in parameter.opts if option.startswith("--"))
