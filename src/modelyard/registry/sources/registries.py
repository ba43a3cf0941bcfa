"""``registry://``: a version of another Modelyard's registry. Each chunk is checked against the version's manifest as
it arrives; what is there already is not fetched again.

``MODELYARD_SOURCE_TOKEN`` says to whom each token goes (``host:port=TOKEN``, parted by commas): whoever may name a
source could otherwise have one sent to a host of their own.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from modelyard.domain.errors import NotFound, Unavailable
from modelyard.registry.admitting import USERS, Hosts
from modelyard.registry.content.cutting import Progress
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.remote import Remote
from modelyard.registry.content.stored import read_manifest
from modelyard.registry.sources.address import Address
from modelyard.registry.sources.files import check_names, keep_begun, prune
from modelyard.registry.sources.reaching import transport

TOKEN: Final = "MODELYARD_SOURCE_TOKEN"  # noqa: S105


def fetch(address: Address, to: Path, progress: Progress | None = None, hosts: Hosts = USERS) -> str:
    """The version's files below ``to``; which version it was.

    Raises:
        InvalidRequest: names that may not be in a version
        NotFound, Unavailable, Damaged: they cannot be had
    """
    namespace, _, name = address.path.strip("/").rpartition("/")
    storage = Remote(_url(address.place), _token(address.place), transport=transport(hosts))
    try:
        version, manifest = _resolved(storage, namespace or "default", name, address)
        # Another registry's word for what its files are called is no better than a stranger's.
        paths = [file.path for file in read_manifest(storage, manifest).files]
        check_names(paths)
        keep_begun(to, set(paths))
        pull(storage, manifest, to, overwrite=True, progress=progress)
        prune(to, set(paths))
    finally:
        storage.close()
    return f"registry://{address.place}/{address.path}@{version}"


def _resolved(storage: Remote, namespace: str, name: str, address: Address) -> tuple[str, str]:
    try:
        return storage.resolve(namespace, name, address.pick)
    except NotFound as error:
        raise NotFound(f"There is no {address}: {error.message}") from error
    except Unavailable as error:
        raise Unavailable(
            f"{address} cannot be read: {error.message} Its token is read from {TOKEN} ({address.place}=TOKEN)."
        ) from error


def _token(place: str) -> str:
    for entry in filter(None, map(str.strip, os.environ.get(TOKEN, "").split(","))):
        whose, known, token = entry.partition("=")
        if not known:
            raise Unavailable(f"{TOKEN} does not say to whom it goes: write {place}=TOKEN, several parted by commas.")
        if whose.lower() == place.lower():
            return token
    return ""


def _url(place: str) -> str:
    """https, but on this machine."""
    host = urlsplit(f"//{place}").hostname or ""
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return f"{'http' if is_here else 'https'}://{place}"
