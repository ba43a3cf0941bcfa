"""The server's store, as this process reaches it: itself where it can, else through the API; and its errors."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelyard.cli.context import Cli
from modelyard.cli.problems import CliError, ExitCode

if TYPE_CHECKING:
    from modelyard.registry.content.storage import Storage


def store_of(cli: Cli) -> tuple[Storage, bool]:
    """The store, and whether it is reached without the API."""
    from modelyard.domain.errors import ModelyardError
    from modelyard.registry.content.locations import store_at
    from modelyard.registry.content.remote import Remote

    place = cli.client.registry.store()
    try:
        store = store_at(place.url)
        # Another machine may have a folder of this name too, and another endpoint a bucket.
        if store.has_identity(place.id):
            return store, True
    except ModelyardError:
        pass  # not for this user, or not with this machine's credentials
    at = cli.locate()
    return Remote(at.url, at.token, verify=at.trust()), False


@contextmanager
def registry_errors(refusal: str = "", *, hint: str = "", hints: Mapping[str, str] | None = None) -> Generator[None]:
    """What goes wrong with the store or the files, as the command line says it; ``refusal`` heads what is wrong with
    the latter, and ``hint`` says what to do about files, with what ``hints`` say of the codes of their problems."""
    from modelyard.domain.errors import InvalidRequest, ModelyardError

    try:
        yield
    except InvalidRequest as error:
        problems = "\n".join(f"{p.path}: {p.message}" if p.path else p.message for p in error.problems)
        is_of_files = any(p.path not in ("", "source") for p in error.problems)
        more = dict.fromkeys(hints[p.code] for p in error.problems if hints and p.code in hints)
        said = " ".join(filter(None, (hint, *more))) if is_of_files else ""
        raise CliError(refusal, log=problems, hint=said, exit_code=ExitCode.INVALID) from error
    except ModelyardError as error:
        raise CliError(error.message) from error
