"""What a source may be written as, and how it is shown: a path, or an address with one of the schemes. Pure.

An address never holds a secret: user names and passwords are refused, and what stands behind a ``?`` (many servers sign
there) is neither shown nor recorded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.formats.names import shown
from modelyard.registry.oci.references import parse as parse_reference

SCHEMES: Final = ("file", "http", "https", "s3", "gs", "az", "hf", "mlflow", "oci", "registry")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SHA256: Final = re.compile(r"sha256=([0-9a-fA-F]{64})")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*")
_HUB: Final = re.compile(r"([^/@]+(?:/[^/@]+)?)(?:@(.*)|/(.*))?\Z", re.DOTALL)
# A revision of the Hub may be a pull request's, which has slashes in it.
_PULL_REQUEST: Final = re.compile(r"(refs/(?:pr|convert)/[^/]+)(?:/(.*))?\Z", re.DOTALL)
_SECRET: Final = re.compile(r"(?<=://)[^/\s@'\"]+@|\?[^\s'\")>]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A source, in parts. ``place``: a host with its port, a bucket, a repository of the Hub (``org/name``), ``models``
    or ``runs`` of MLflow; ``path``: the rest, or a local path; ``pick``: a revision, a version, or an alias with its
    ``@``; ``sha256``: what the one file must have. ``text`` is all of it, as it was given."""

    scheme: str
    text: str
    place: str = ""
    path: str = ""
    pick: str = ""
    sha256: str = ""

    @property
    def is_local(self) -> bool:
        return self.scheme == "file"

    def __str__(self) -> str:
        """As it may be shown and recorded."""
        if self.scheme in ("http", "https"):
            return shown(scrubbed(self.text.partition("#")[0]))
        return shown(self.text)


def scrubbed(text: str) -> str:
    """``text`` without what may be secret in the addresses that are in it."""
    return _SECRET.sub("", text)


def parse(source: str) -> Address:
    """
    Raises:
        InvalidRequest: with all that is wrong with it
    """
    found = _SCHEME.match(source)
    if found is None:
        return Address(scheme="file", text=source, path=source)
    scheme, rest = found[1].lower(), source[found.end() :]
    if scheme not in SCHEMES:
        known = ", ".join(f"{known}://" for known in SCHEMES)
        raise _refused([f"There is no scheme {shown(scheme)}://. A source is a path, or begins with one of {known}."])
    if scheme == "file":
        return _file(source)
    problems = [] if rest.isprintable() else ["There is a control character in it."]
    if scheme not in ("hf", "mlflow") and "@" in rest.split("/", 1)[0]:
        problems.append(_NO_PASSWORD.get(scheme, _NO_PASSWORD[""]))
    if scheme in ("http", "https"):
        address = _web(scheme, source, problems)
    elif scheme in ("s3", "gs", "az"):
        bucket, _, key = rest.partition("/")
        address = Address(scheme=scheme, text=source, place=bucket, path=key)
        if not bucket:
            problems.append(f"It names no bucket: write {scheme}://bucket/prefix.")
    elif scheme == "hf":
        address = _hub(source, rest, problems)
    elif scheme == "mlflow":
        address = _tracked(source, rest, problems)
    elif scheme == "registry":
        address = _registry(source, rest, problems)
    else:
        address = Address(scheme=scheme, text=source, path=rest)
    if problems:
        raise _refused(problems)
    if scheme == "oci":
        parse_reference(source)
    return address


_NO_PASSWORD: Final = {
    "oci": "It has a user name or password in it: set MODELYARD_OCI_USERNAME and MODELYARD_OCI_PASSWORD.",
    "": "It has a user name or password in it: leave that out, and give credentials in the environment.",
    "http": "It has a user name or password in it: put them into a file like ~/.netrc, and its path into NETRC.",
    "https": "It has a user name or password in it: put them into a file like ~/.netrc, and its path into NETRC.",
    "registry": "It has a user name or password in it: put host:port=TOKEN into MODELYARD_SOURCE_TOKEN.",
}


def _refused(messages: list[str]) -> InvalidRequest:
    return InvalidRequest([Problem("source", "invalid_source", message) for message in messages])


def _file(source: str) -> Address:
    parts = urlsplit(source)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise _refused(["A file:// address is of this machine: write file:///folder/file."])
    return Address(scheme="file", text=source, path=unquote(parts.path))


def _web(scheme: str, source: str, problems: list[str]) -> Address:
    bare, _, fragment = source.partition("#")
    digest = _SHA256.fullmatch(fragment)
    if fragment and digest is None:
        problems.append("What stands behind the # is no digest: write #sha256= and 64 hexadecimal digits, or nothing.")
    try:
        parts = urlsplit(bare)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host:
        problems.append(f"It names no host: write {scheme}://host/path.")
    return Address(
        scheme=scheme, text=source, place=parts.netloc, path=unquote(parts.path).lstrip("/"),
        sha256=digest[1].lower() if digest else "",
    )  # fmt: skip


def _hub(source: str, rest: str, problems: list[str]) -> Address:
    """``org/name`` or ``org/name@revision``, either with a path; ``name`` alone, as the Hub's oldest models are
    called."""
    found = _HUB.match(rest)
    repository, tail, path = found.groups() if found else ("", None, "")
    pick = ""
    if tail is not None:
        request = _PULL_REQUEST.match(tail)
        pick, path = request.groups() if request else tail.partition("/")[::2]
        if not pick:
            problems.append("There is no revision behind the @: write a branch, a tag or a commit, or leave the @ out.")
    if not all(map(_REPOSITORY.fullmatch, repository.split("/"))):
        problems.append("It names no model of the Hub: write hf://org/name or hf://org/name@revision.")
    return Address(scheme="hf", text=source, place=repository, path=(path or "").strip("/"), pick=unquote(pick))


def _tracked(source: str, rest: str, problems: list[str]) -> Address:
    kind, _, tail = rest.partition("/")
    name, path, pick = tail, "", ""
    if kind == "models":
        name, at, alias = tail.rpartition("@")
        pick = f"@{alias}"
        if not at:
            name, _, pick = tail.rpartition("/")
        good = bool(name and pick.strip("@")) and "/" not in name
    else:
        name, _, path = tail.partition("/")
        good = kind == "runs" and bool(name and path.strip("/"))
    if not good:
        problems.append(
            "It names nothing of MLflow: write mlflow://models/NAME/VERSION, mlflow://models/NAME@ALIAS or "
            "mlflow://runs/RUN_ID/PATH."
        )
    return Address(scheme="mlflow", text=source, place=kind, path=f"{name}/{path}".strip("/"), pick=pick)


def _registry(source: str, rest: str, problems: list[str]) -> Address:
    place, _, tail = rest.partition("/")
    name, _, pick = tail.partition("@")
    if not place or not name.strip("/") or name.count("/") > 1:
        problems.append("It names no model: write registry://host:port/NAME@PICK, or host:port/NAMESPACE/NAME@PICK.")
    return Address(scheme="registry", text=source, place=place, path=name, pick=pick or "latest")
