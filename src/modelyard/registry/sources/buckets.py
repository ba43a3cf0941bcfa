"""``s3://``, ``gs://`` and ``az://``: one object, or all below a prefix, with obstore's clients.

They find credentials, regions and endpoints in the environment (``AWS_…``, ``GOOGLE_…``, ``AZURE_…``). A range is asked
for with If-Match, so one of an object that has changed is never taken for one of the object that was. What S3 gives as
an ETag is the MD5 of most objects, and then checked; the others' ETags say nothing of the bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelyard.domain.errors import InvalidRequest, NotFound, Problem, Unavailable
from modelyard.registry.content.cutting import Progress
from modelyard.registry.sources.address import Address
from modelyard.registry.sources.files import Changed, File, bring
from modelyard.registry.sources.patience import Lasting, Patience
from modelyard.registry.sources.picking import Picking

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

_MD5: Final = re.compile(r"[0-9a-f]{32}")
_PIECE: Final = 2**18
_RESTARTS: Final = 3
# By the library; what breaks off later is gone on with here.
_RETRIES: Final = 3
_WAIT: Final = timedelta(seconds=20)
_ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_SIGNED_FOR: Final = timedelta(minutes=5)
# What a server says of an object that it has encrypted with a key of its own or the caller's: its ETag is no MD5 then.
_ENCRYPTION: Final = "x-amz-server-side-encryption"


def fetch(address: Address, to: Path, picking: Picking, progress: Progress | None = None) -> str:
    """The objects below ``to``; what they were, with the version or ETag where it is one.

    Raises:
        InvalidRequest: names that may not be in a version
        NotFound, Unavailable, Damaged: they cannot be had
    """
    with _bucket_errors(address):
        store = _store(address)
    for _ in range(_RESTARTS):
        with _bucket_errors(address):
            found = {path: meta for path, meta in _objects(store, address).items() if picking.wants(path)}
        if not found:
            raise NotFound(f"There is nothing at {address}, or nothing of it is wanted.")
        files = [_file(store, address, path, meta) for path, meta in found.items()]
        try:
            bring(files, to, progress)
        except Changed:
            continue
        metas = list(found.values())
        said = _identity(metas[0]) if len(metas) == 1 and metas[0]["path"] == address.path else ""
        return f"{address}#{said}" if said else str(address)
    raise Unavailable(f"{address} changes again and again: try again later.")


def _store(address: Address) -> ObjectStore:
    from obstore.store import AzureStore, GCSStore, S3Store

    options: dict[str, Any] = {
        "client_options": {
            # Whoever names an endpoint without TLS wants it so.
            "allow_http": any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS[address.scheme]),
            "connect_timeout": "10s", "read_timeout": "30s", "timeout": "30min",
        },
        "retry_config": {"max_retries": _RETRIES, "retry_timeout": _WAIT},
    }  # fmt: skip
    if address.scheme == "s3":
        return S3Store(address.place, **options)
    return GCSStore(address.place, **options) if address.scheme == "gs" else AzureStore(address.place, **options)


def _objects(store: ObjectStore, address: Address) -> dict[str, ObjectMeta]:
    """The object of this name, or all below it, by the path that each is to have."""
    import obstore

    prefix = address.path.strip("/")
    if prefix and not address.path.endswith("/"):
        try:
            meta = obstore.head(store, prefix)
        except FileNotFoundError:
            pass
        else:
            return {prefix.rpartition("/")[2]: meta}
    metas = [meta for page in obstore.list(store, prefix or None) for meta in page]
    folders = {folder for meta in metas for folder in _above(meta["path"])} | {prefix}
    return {
        meta["path"][len(prefix) :].lstrip("/"): meta
        for meta in metas
        # What some tools put where a folder is.
        if meta["size"] or meta["path"] not in folders
    }


def _above(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


def _file(store: ObjectStore, address: Address, path: str, meta: ObjectMeta) -> File:
    etag = meta["e_tag"] or ""
    md5 = _MD5.fullmatch(etag.strip('"')) if address.scheme == "s3" else None
    return File(
        path=path, size=meta["size"], tag=etag and f"{meta['path']} {etag} {meta['size']}",
        digest=f"md5:{md5[0]}" if md5 else "",
        read=lambda start, end: _read(store, address, meta, start, end),
        mend=(lambda: _is_encrypted(store, address, meta["path"])) if md5 else None,
    )  # fmt: skip


def _read(store: ObjectStore, address: Address, meta: ObjectMeta, start: int, end: int | None) -> Iterator[bytes]:
    import obstore
    from obstore.exceptions import GenericError, PreconditionError

    patience, etag = Patience(str(address)), meta["e_tag"]
    if etag and not etag.endswith('"'):
        etag = f'"{etag}"'  # Azure's lists leave the quotes out
    assert end is not None
    while start < end:
        try:
            with _bucket_errors(address, but=(GenericError, FileNotFoundError, PreconditionError)):
                got = obstore.get(store, meta["path"], options={"range": (start, end), "if_match": etag})
                for piece in got.stream(min_chunk_size=_PIECE):
                    start += len(piece)
                    patience.rest(len(piece))
                    yield bytes(piece)
        except (FileNotFoundError, PreconditionError) as error:
            raise Changed from error
        except GenericError as error:
            if not etag:
                raise _unavailable(address, error) from error
            patience.wait(_unavailable(address, error))


def _is_encrypted(store: ObjectStore, address: Address, path: str) -> bool:
    """Whether the object's ETag is no MD5 because it is encrypted: only a request of our own shows what S3 says of
    that."""
    import httpx2
    import obstore

    with _bucket_errors(address):
        url = obstore.sign(store, "HEAD", path, _SIGNED_FOR)  # type: ignore[call-overload]
    try:
        headers = httpx2.head(url).headers
    except httpx2.HTTPError:
        return False
    return headers.get(_ENCRYPTION, "").startswith("aws:") or f"{_ENCRYPTION}-customer-algorithm" in headers


def _identity(meta: ObjectMeta) -> str:
    etag = (meta["e_tag"] or "").removeprefix("W/").strip('"')
    return f"version={meta['version']}" if meta["version"] else etag and f"etag={etag}"


@contextmanager
def _bucket_errors(address: Address, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    from obstore.exceptions import BaseError, InvalidPathError

    try:
        yield
    except but:
        raise
    except FileNotFoundError as error:
        raise NotFound(f"There is nothing at {address}.") from error
    except InvalidPathError as error:
        message = f"An object below {address} has a key that no file can be named by: rename it, or leave it out."
        raise InvalidRequest([Problem("", "invalid_name", message)]) from error
    except BaseError as error:
        raise _unavailable(address, error) from error


def _unavailable(address: Address, error: Exception) -> Unavailable:
    from obstore.exceptions import PermissionDeniedError

    from modelyard.registry.content.bucket_errors import is_lasting, reason

    if isinstance(error, PermissionDeniedError):
        return Unavailable(f"{address} cannot be read: these credentials may not list and read there.")
    kind = Lasting if is_lasting(error) else Unavailable
    return kind(f"{address} cannot be read: {reason(error, address.text)}.")
