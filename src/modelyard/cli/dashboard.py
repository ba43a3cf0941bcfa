"""``dashboard``: a link that opens the dashboard and signs in, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.context import LOOK, Cli, command

if TYPE_CHECKING:
    from modelyard.client import Modelyard


def register(app: typer.Typer) -> None:
    command(app, "dashboard", rich_help_panel=LOOK)(dashboard)


def dashboard(
    cli: Cli, open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser of this machine.")] = False
) -> None:
    """Print a link that opens the dashboard, signed in as you: once, within ten minutes."""
    link = cli.client.sign_in_link()
    if cli.is_plain:
        cli.show(link.raw, lambda: "")
    if open_it:
        import webbrowser

        if webbrowser.open(link.url):
            cli.say("The dashboard opens in your browser.")
            return
        cli.err.print("No browser can be opened here: follow the link.")
    if not cli.is_plain:
        # Never wrapped, so that it can be copied.
        cli.out.print(link.url, markup=False, soft_wrap=True)


def address(client: Modelyard) -> str:
    """Of the dashboard: a link that signs in, if one is built here, else of the page that says how to build it."""
    from pathlib import Path

    import modelyard
    from modelyard.client import ModelyardError

    if not (Path(modelyard.__file__).parent / "dashboard" / "index.html").is_file():
        return client.url
    try:
        return client.sign_in_link().url
    except ModelyardError:
        # What is up is up; its page asks for a key.
        return client.url
