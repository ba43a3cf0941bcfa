"""From a store's URL to the store. What it takes to get at it (credentials, endpoints) is in the environment, in the
variables of each service's own tools, and never in the URL."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.content.storage import Folder, Store

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
# Of a read, which is 8 MiB at most; of a part that is uploaded, beside others, over a slow line.
_READ: Final = timedelta(minutes=2)
_UPLOAD: Final = timedelta(minutes=15)


def store_at(url: str) -> Store:
    """The store at ``file:///path``, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
    Nothing is asked of it yet.

    Raises:
        InvalidRequest: the URL is none of these
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return Folder(Path(unquote(parts.path)))
    prefix = parts.path.strip("/")
    if (
        parts.scheme not in ("s3", "gs", "az") or not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment
        or (prefix and (not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))))
    ):  # fmt: skip
        message = (
            "A store is at file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, in plain "
            "letters, digits, dots, dashes and underscores; credentials are read from the environment."
        )
        raise InvalidRequest([Problem("registry_url", "not_a_store", message)])
    return _bucket(parts.scheme, parts.netloc, prefix)


def _bucket(scheme: str, name: str, prefix: str) -> Store:
    # Late: who has a folder does without the library, which takes memory.
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore, S3Store

    from modelyard.registry.content.bucket_errors import reason
    from modelyard.registry.content.buckets import Bucket
    from modelyard.registry.content.direct import Direct

    kinds: dict[str, tuple[type[AzureStore | GCSStore | S3Store], str]] = {
        "s3": (S3Store, "AWS_ALLOW_HTTP"),
        "gs": (GCSStore, "GOOGLE_ALLOW_HTTP"),
        "az": (AzureStore, "AZURE_ALLOW_HTTP"),
    }
    kind, allow = kinds[scheme]
    url = f"{scheme}://{name}/{prefix}".rstrip("/")

    # The library's own look at this variable ends where any option is given.
    allow_http = os.environ.get(allow, "").lower() in ("1", "true")

    def opened(timeout: timedelta) -> ObjectStore:
        return kind(name, prefix=prefix or None, client_options={"timeout": timeout, "allow_http": allow_http})

    try:
        store = opened(_READ)
        # Others may have to ask somebody to sign an address.
        direct = Direct(store, plain=allow_http) if isinstance(store, S3Store) else None
        return Bucket(store, url, uploads=opened(_UPLOAD), direct=direct)
    except (BaseError, ValueError) as error:
        message = f"The store in {url} cannot be used: {reason(error, url)}."
        raise InvalidRequest([Problem("registry_url", "not_a_store", message)]) from None
