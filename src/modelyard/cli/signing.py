"""``sign``, ``keys``: signatures of versions, and the keys that may make them.

Private keys and secrets are used here, in this process, and go nowhere: the server gets what they have signed.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.context import REGISTRY, Cli, ReasonOption, command
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.progress import spinning
from modelyard.cli.registry import split_pick
from modelyard.cli.views import ago, table

if TYPE_CHECKING:
    from rich.table import Table

    from modelyard.client import TrustedKey

keys = typer.Typer(help="Make keys, and say which ones may sign versions.", no_args_is_help=True)

KeyArgument = Annotated[str, typer.Argument(metavar="NAME", help="The key's name.", show_default=False)]
HmacOption = Annotated[bool, typer.Option("--hmac", help="A secret that the server has too, instead of a key pair.")]


def register(app: typer.Typer) -> None:
    command(app, "sign", rich_help_panel=REGISTRY)(sign)
    for name, function in (("generate", generate), ("trust", trust), ("list", list_keys), ("revoke", revoke)):
        command(keys, name)(function)
    command(keys, "require")(require)
    app.add_typer(keys, name="keys", rich_help_panel=REGISTRY)


def sign(
    cli: Cli,
    name: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="What to sign (default: latest).", show_default=False)
    ],
    key: Annotated[
        Path,
        typer.Option("--key", help="The private key, or the secret: a file.", exists=True, dir_okay=False,
                     show_default=False),
    ],
    hmac: HmacOption = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="Also write the signature to this new file.", dir_okay=False)
    ] = None,
    reason: ReasonOption = "",
) -> None:  # fmt: skip
    """Sign the files of a version. The server reads all of them before it takes the signature."""
    if key.suffix == ".hmac" and not hmac:
        raise typer.BadParameter(f"{key.name} is a secret, not a private key: add --hmac.", param_hint="--key")
    model, pick = split_pick(name)
    found = cli.client.registry.resolve(model, pick or "latest")
    what, kind = f"{model}@{found.version}", "hmac" if hmac else "openssf"
    with _key_errors():
        if hmac:
            from modelyard.registry.signing.secret import Secret, Signed

            signed = Signed(namespace=cli.client.namespace, model=model, version=found.version, manifest=found.manifest)
            bundle = Secret.read(key).sign(signed)
        else:
            from modelyard.registry.signing import bundles
            from modelyard.registry.signing.keys import check_private_key

            check_private_key(key)
            files = {file.path: file.sha256 for file in cli.client.registry.files(model, found.version)}
            bundle = bundles.sign(files, what, key)
        if save is not None:
            from modelyard.registry.signing.keys import write_new

            write_new(save, bundle.encode(), 0o644)
    with spinning(cli, f"Signing {what}: all of it is read on the server"):
        added = cli.client.registry.add_signature(model, found.version, bundle, kind=kind, reason=reason)
    cli.show(added.raw, lambda: f"{what} is signed by {added.key}")


def generate(
    cli: Cli,
    name: KeyArgument,
    hmac: HmacOption = False,
    to: Annotated[
        Path, typer.Option("--to", help="The folder for it (default: this one).", file_okay=False, exists=True)
    ] = Path(),
) -> None:
    """Make a key pair: NAME.key, which only you can read, to sign with, and NAME.pub for those who check. With --hmac
    a secret, NAME.hmac, that is both."""
    from modelyard.domain.names import name_problem
    from modelyard.registry.signing import keys as pairs
    from modelyard.registry.signing import secret

    problem = name_problem("name", name)
    if problem is not None:
        raise typer.BadParameter(problem.message, param_hint="NAME")
    if hmac:
        made = secret.generate(to, name)
        cli.show(
            {"secret": str(made)},
            lambda: (
                f"{made} is the secret. Put a copy into the folder 'signing' of the server's home, then: modelyard "
                f"keys trust {name} --hmac"
            ),
        )
        return
    private, public = pairs.generate(to, name)
    cli.show(
        {"private_key": str(private), "public_key": str(public)},
        lambda: (
            f"{private} is the private key: keep it to yourself. Have {public} trusted: modelyard keys trust "
            f"{name} {public}"
        ),
    )


def trust(
    cli: Cli,
    name: KeyArgument,
    public_key: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The public key (NAME.pub).", exists=True, dir_okay=False,
                       show_default=False),
    ] = None,
    hmac: Annotated[
        bool, typer.Option("--hmac", help="The secret NAME.hmac in the folder 'signing' of the server's home.")
    ] = False,
    reason: ReasonOption = "",
) -> None:  # fmt: skip
    """Have a key sign versions of this namespace."""
    if public_key is not None and public_key.suffix == ".hmac":
        raise typer.BadParameter(
            f"A secret is not sent: put a copy of {public_key.name} into the folder 'signing' of the server's home, "
            f"then: modelyard keys trust {name} --hmac",
            param_hint="FILE",
        )
    if hmac == (public_key is not None):
        raise typer.BadParameter("Give the file of a public key, or --hmac.", param_hint="FILE")
    if public_key is None:
        key = cli.client.keys.trust(name, kind="hmac", reason=reason)
    else:
        # Read as bytes are: what is no key the server says.
        pem = public_key.read_bytes().decode("utf-8", "replace")
        if "PRIVATE KEY" in pem:
            raise CliError(
                f"{public_key} is a private key, which stays with its owner: give the public one.",
                exit_code=ExitCode.INVALID,
            )
        key = cli.client.keys.trust(name, pem, reason=reason)
    cli.show(key.raw, lambda: f"{key.name} may sign versions of namespace {cli.client.namespace}")


def list_keys(cli: Cli) -> None:
    """List the keys of this namespace, revoked ones too."""
    found = cli.client.keys.list()
    if not found and not cli.is_plain:
        cli.say("No keys are trusted here. Make one: modelyard keys generate NAME")
        return
    cli.show([key.raw for key in found], lambda: _key_table(found))


def revoke(cli: Cli, name: KeyArgument, reason: ReasonOption = "") -> None:
    """Trust a key no more, for good: all that it has signed counts as unsigned."""
    key = cli.client.keys.revoke(name, reason=reason)
    said = f"{key.name} is revoked: what it has signed counts as unsigned"
    cli.show(key.raw, lambda: said + _stuck(key.not_startable))


def require(
    cli: Cli,
    on: Annotated[bool, typer.Option("--on", help="Serve signed versions only.")] = False,
    off: Annotated[bool, typer.Option("--off", help="Serve anything.")] = False,
    reason: ReasonOption = "",
) -> None:
    """Say whether models are served in this namespace from signed versions of registered models only, and nothing from
    files or commands; without an option, only look. What runs goes on, but is not started again."""
    if on and off:
        raise typer.BadParameter("Give --on or --off, not both.", param_hint="--on")
    client = cli.client.keys
    now = client.set_policy(require_signature=on, reason=reason) if on or off else client.policy()
    words = "signed versions only" if now.require_signature else "unsigned versions too, and from files and commands"
    said = f"In namespace {cli.client.namespace} models are served from {words}"
    cli.show(now.raw, lambda: said + _stuck(now.not_startable))


def _stuck(names: Sequence[str]) -> str:
    return f".\nThese are to run, but would not start again: {', '.join(names)}." if names else ""


@contextmanager
def _key_errors() -> Generator[None]:
    """What is wrong with the files of keys, as the command line says it."""
    from modelyard.domain.errors import InvalidRequest

    try:
        yield
    except InvalidRequest as error:
        problems = "\n".join(problem.message for problem in error.problems)
        raise CliError("This cannot be signed with.", log=problems, exit_code=ExitCode.INVALID) from error


def _key_table(found: Sequence[TrustedKey]) -> Table:
    from rich.markup import escape

    made = table("KEY", "KIND", "FINGERPRINT", "TRUSTED", "BY", "MESSAGE")
    for key in found:
        revoked = f"[yellow]revoked[/] {ago(key.revoked_at)} ago by {escape(key.revoked_by)}" if key.revoked_at else ""
        said = ": ".join(part for part in (revoked, escape(key.revoked_for if key.revoked_at else key.reason)) if part)
        made.add_row(
            key.name, key.kind, key.fingerprint[:16], f"{ago(key.trusted_at)} ago", escape(key.trusted_by), said
        )
    return made
