"""Where a Modelyard is, which token it takes and by which certificates it is known, found without asking anyone.

From what is given, then the environment (``MODELYARD_URL``, ``MODELYARD_TOKEN``, ``MODELYARD_CA_FILE``,
``MODELYARD_HOME``, ``MODELYARD_PORT``), then ``modelyard.toml``, then what a running Modelyard has left in its home
(``run/up.json``, ``admin.token``). A token that is given goes where it is told; the home's own token goes
only to the home's own Modelyard while that runs, as another program may listen where it was or will be.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from modelyard.supervisor.processes import read_record, recorded

if TYPE_CHECKING:
    import ssl

DEFAULT_PORT = 8900
DEFAULT_HOME = "~/.modelyard"


@dataclass(frozen=True, slots=True)
class Location:
    """``token`` is empty when none was found; ``home`` is where it was looked for. ``is_known`` is False
    when ``url`` is only where a Modelyard would be: nothing of this home runs, and nobody named another.
    ``ca_file`` holds the certificates to trust instead of the system's authorities; with ``is_own`` the very one that
    the home's own Modelyard shows."""

    url: str
    token: str
    home: Path
    is_known: bool
    ca_file: str = ""
    is_own: bool = False

    def trust(self) -> ssl.SSLContext | bool:
        """Whom to believe that it is there. The home's own certificate may be for other names than this machine's.

        Raises:
            Unreachable: ``ca_file`` cannot be read.
        """
        if not self.ca_file:
            return True
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = not self.is_own
        # A certificate that nobody else has signed is trusted, too, once it is named here.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(self.ca_file)
        except OSError as error:
            from modelyard.client.errors import Unreachable

            raise Unreachable(
                f"{self.ca_file} holds no certificates that can be read (PEM): {error.strerror or error}"
            ) from error
        return context


def locate(
    url: str | None = None, token: str | None = None, home: str | os.PathLike[str] | None = None,
    ca_file: str | os.PathLike[str] | None = None,
) -> Location:  # fmt: skip
    """Find the URL, the token and the certificates. A home that is given outranks the environment's URL, port and
    token."""
    environ = os.environ
    config = _config(home)
    folder = Path(home or environ.get("MODELYARD_HOME") or config.get("home") or DEFAULT_HOME).expanduser().absolute()
    own, certificate = _running(folder)
    port = None
    if url is None and home is None:
        url, port = environ.get("MODELYARD_URL"), environ.get("MODELYARD_PORT")
    named = bool(url)
    set_here = not url
    url = (url or _local(port) or own or _local(config.get("port") or DEFAULT_PORT)).rstrip("/")
    # Of a port alone nobody said that it is without TLS.
    if own and (_is_same(url, own) or (set_here and url == own.replace("https:", "http:", 1))):
        url = own
    if token is None:
        set_token = environ.get("MODELYARD_TOKEN") or str(config.get("token") or "")
        kept = read_token(folder) if url == own else ""
        token = (kept or set_token) if home is not None else (set_token or kept)
    is_own = ca_file is None and url == own and bool(certificate)
    return Location(
        url=url, token=token, home=folder, is_known=named or url == own or bool(token), is_own=is_own,
        ca_file=certificate if is_own else str(ca_file or environ.get("MODELYARD_CA_FILE") or ""),
    )  # fmt: skip


def read_token(home: Path) -> str:
    """The administrator token of this home; empty when there is none that we may read."""
    try:
        return (home / "admin.token").read_text().strip()
    except OSError:
        return ""


def _running(home: Path) -> tuple[str, str]:
    """Where this home's Modelyard is, as long as a process of it holds that address, and its certificate's file."""
    record = read_record(home / "run" / "up.json")
    holders = (record, record.get("gateway"))
    if not any(recorded(holder) is not None for holder in holders):
        return "", ""
    return str(record.get("url", "")), str(record.get("certificate", ""))


def _is_same(url: str, own: str) -> bool:
    """Whether ``url`` is ``own`` by another name of this machine's loopback address."""
    try:
        one, other = urlsplit(url), urlsplit(own)
        return (
            (one.scheme, one.port, one.path) == (other.scheme, other.port, other.path)
            and one.hostname == "localhost"
            and other.hostname == "127.0.0.1"
        )
    except ValueError:
        return False


def _local(port: object) -> str:
    return f"http://127.0.0.1:{port}" if port else ""


def _config(home: str | os.PathLike[str] | None) -> dict[str, Any]:
    folder = Path(home or os.environ.get("MODELYARD_HOME") or DEFAULT_HOME).expanduser()
    for path in (Path("modelyard.toml"), folder / "modelyard.toml"):
        try:
            return tomllib.loads(path.read_text())
        except (OSError, ValueError):
            continue
    return {}
