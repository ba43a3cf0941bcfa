"""Which sources the server fetches for a caller: it can read files and reach hosts that its callers are not to.

A name of a host may mean another address a moment later, so what is asked for is looked at twice: when it is asked for,
so that the caller hears of it at once, and when a connection is made, before anything is sent
(:mod:`modelyard.registry.sources.reaching`). What private networks are there for is for the network around this machine
to say: a company's own stores of models are in them.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.sources.address import Address, parse

# Addresses at which clouds answer for credentials, beside 169.254.0.0/16 and fe80::/10 (both link-local).
_METADATA: Final = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))
# RFC 1122, 3.2.1.3: this host on this network. Linux takes the first of them for itself.
_NOBODY: Final = ipaddress.ip_network("0.0.0.0/8")
# Where the last 32 bits are an address of IPv4: RFC 6052, RFC 8215, and RFC 4291's IPv4-compatible addresses.
_TRANSLATED: Final = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def resolve(host: str) -> Iterable[str]:
    """The addresses that a name stands for. Raises OSError, UnicodeError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Which hosts may be reached: those ``named`` (``*``: all) whatever their address is, of others those that are
    neither this machine nor link-local; under the latter clouds give out this machine's own credentials. ``for_caller``
    is False where users fetch for themselves: then this machine may be reached as well, and nothing but where a server
    sends them on to is looked at."""

    named: frozenset[str] = frozenset()
    for_caller: bool = True

    def check(self, host: str) -> None:
        """Raises InvalidRequest: nothing is fetched from it, by what its name stands for just now. Blocks."""
        if self.names(host):
            return
        try:
            found = list(resolve(host))
        except (OSError, UnicodeError):
            # It may be found later, or by a proxy: whoever fetches says what is wrong.
            return
        for text in found:
            self.check_address(host, text)

    def check_address(self, host: str, text: str) -> None:
        """Raises InvalidRequest: nothing is fetched from ``host`` while its address is this one."""
        if self.names(host):
            return
        for address in _forms(ipaddress.ip_address(text.partition("%")[0])):
            if address.is_link_local or address in _METADATA:
                raise self._refused(host, text, "a link-local address")
            if self.for_caller and (address.is_loopback or address.is_unspecified or address in _NOBODY):
                raise self._refused(host, text, "an address of the server's own machine")

    def names(self, host: str) -> bool:
        """Whether the administrator lets it be reached whatever its address is."""
        return "*" in self.named or host.rstrip(".").lower() in self.named

    def _refused(self, host: str, text: str, what: str) -> InvalidRequest:
        mend = " Its administrator can name the host in MODELYARD_IMPORT_HOSTS." if self.for_caller else ""
        return _refused(f"{host} is {what} ({text}), which nothing is fetched from.{mend}")


# What users fetch themselves, with their own rights.
USERS: Final = Hosts(for_caller=False)


def _forms(address: IpAddress) -> Iterator[IpAddress]:
    """The address, and the one of IPv4 that it stands for."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        for meant in (address.ipv4_mapped, address.sixtofour):
            if meant is not None:
                yield meant
        if any(address in network for network in _TRANSLATED):
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def admit(source: str, folders: Sequence[Path], hosts: Hosts) -> str:
    """The source as it is kept: without secrets, and a path of this machine without links in it. ``folders`` are those
    below which local files may be read. Blocks: names of hosts are looked up.

    Raises:
        InvalidRequest: ``invalid_source``: it is none; ``source_refused``: the server does not fetch it
    """
    address = parse(source)
    if address.is_local:
        return _local(address, folders)
    if "?" in address.text and address.scheme in ("http", "https"):
        raise _refused(
            "What stands behind the ? of an address often is a secret, and the server would have to keep it. Fetch "
            "the files yourself, and push them (modelyard push)."
        )
    host = _host(address)
    if host is not None:
        hosts.check(host)
    return address.text


def local_path(source: str) -> Path | None:
    """Where an admitted source is on this machine; None: it is elsewhere."""
    address = parse(source)
    return Path(address.path) if address.is_local else None


def _local(address: Address, folders: Sequence[Path]) -> str:
    if not address.path.startswith("/"):
        raise _refused("The server knows no folder that this is meant from: give a whole path, or an address.")
    try:
        path = Path(address.path).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        path = None
    # Whether there is such a file outside is nobody's business either.
    if path is None or not any(path.is_relative_to(folder.resolve()) for folder in folders):
        raise _refused(
            "The server reads files of its machine only below the folders of MODELYARD_IMPORT_PATHS, and there is no "
            "such file below one. Push files of your own with `modelyard push`."
        )
    return path.as_uri()


def _host(address: Address) -> str | None:
    """The host that a caller names; None where the administrator does, in the environment."""
    if address.scheme not in ("http", "https", "oci", "registry"):
        return None
    place = address.place or address.path.split("/", 1)[0]
    return urlsplit(f"//{place}").hostname


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest([Problem("source", "source_refused", message)])
