"""What ``oci://host[:port]/repository[:tag][@sha256:…]`` names. Pure: nothing is looked up.

Source: https://github.com/opencontainers/distribution-spec (1.1, "Pulling manifests", the grammar of names and tags);
https://github.com/distribution/reference (hosts).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem

SCHEME: Final = "oci://"
DEFAULT_TAG: Final = "latest"
_MAX_REPOSITORY: Final = 255
_MAX_HOST: Final = 253
_COMPONENT: Final = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PORT: Final = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """``registry`` is a host, perhaps with a port; ``digest`` of a manifest wins over ``tag``."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{SCHEME}{self.registry}/{self.repository}{tag}{digest}"

    @property
    def target(self) -> str:
        """What a manifest is asked for by."""
        return self.digest or self.tag or DEFAULT_TAG

    @property
    def host(self) -> str:
        """Without the port, and an IPv6 address without its brackets."""
        return _host_and_port(self.registry)[0].strip("[]")

    def url(self, insecure: Collection[str] = ()) -> str:
        """Where the registry's API is. It is spoken to without TLS only on this machine, or where ``insecure`` has its
        name (with the port or without)."""
        plain = is_loopback(self.host) or not {self.registry, self.host}.isdisjoint(insecure)
        return f"{'http' if plain else 'https'}://{self.registry}"


def parse(text: str) -> Reference:
    """Read a reference. What is wrong with one is said without repeating it: there may be a password in it.

    Raises:
        InvalidRequest: it is none
    """
    if not text.startswith(SCHEME):
        raise _invalid("scheme", f"It does not begin with {SCHEME}: write {SCHEME}host/repository:tag.")
    authority, slash, path = text.removeprefix(SCHEME).partition("/")
    if "@" in authority:
        message = "Credentials do not belong in a reference: set MODELYARD_OCI_USERNAME and MODELYARD_OCI_PASSWORD."
        raise _invalid("credentials", message)
    registry = _registry(authority)
    if not slash or not path:
        raise _invalid("repository", f"It names no repository: write {SCHEME}host/repository:tag.")
    rest, at, digest = path.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _invalid("digest", "What follows the @ is no digest: sha256: and 64 hexadecimal digits in lower case.")
    repository, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        message = "The tag has up to 128 letters, digits, dots, dashes and underscores, and begins with no dot or dash."
        raise _invalid("tag", message)
    return Reference(registry=registry, repository=_repository(repository), tag=tag or None, digest=digest or None)


def is_digest(text: str) -> bool:
    """Whether it is the name of a blob or manifest by its SHA-256; other algorithms are not read."""
    return _DIGEST.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """Whether nothing that is sent there leaves this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _registry(authority: str) -> str:
    name, port = _host_and_port(authority.lower())
    if port is not None and not (_PORT.fullmatch(port) and 0 < int(port) < 2**16):
        raise _invalid("port", "The port is no number from 1 to 65535.")
    if not _is_host(name):
        message = "The registry is no host's name and no address: registry.example.com, 192.0.2.7:5000, [2001:db8::7]."
        raise _invalid("registry", message)
    return name if port is None else f"{name}:{int(port)}"


def _host_and_port(authority: str) -> tuple[str, str | None]:
    if authority.startswith("["):
        address, bracket, rest = authority.partition("]")
        return address + bracket, rest[1:] if rest.startswith(":") else (rest or None)
    host, colon, port = authority.partition(":")
    return host, port if colon else None


def _is_host(name: str) -> bool:
    if name.startswith("["):
        try:
            return name.endswith("]") and ipaddress.IPv6Address(name[1:-1]).scope_id is None
        except ValueError:
            return False
    if re.fullmatch(r"[0-9.]+", name):
        try:
            return bool(ipaddress.IPv4Address(name))
        except ValueError:
            return False
    return len(name) <= _MAX_HOST and all(_LABEL.fullmatch(label) for label in name.split("."))


def _repository(name: str) -> str:
    if not all(_COMPONENT.fullmatch(component) for component in name.split("/")):
        message = (
            "The repository has names of lower-case letters and digits, parted by slashes, and in a name by a dot, one "
            "or two underscores, or dashes: team/reader."
        )
        raise _invalid("repository", message)
    if len(name) > _MAX_REPOSITORY:
        raise _invalid("repository", f"The repository has over {_MAX_REPOSITORY} characters: shorten it.")
    return name


def _invalid(code: str, message: str) -> InvalidRequest:
    return InvalidRequest([Problem("reference", f"invalid_{code}", message)])
