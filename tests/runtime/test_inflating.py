"""Compressed bodies."""

import gzip
import zlib

import pytest

from modelyard.runtime.errors import RequestError
from modelyard.runtime.inflating import inflate


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_body_within_the_limit_comes_back(encoding, compress):
    content = b"abc" * 1000
    assert inflate(memoryview(compress(content)), encoding, len(content)) == content
    assert inflate(compress(b""), encoding, 1) == b""


@pytest.mark.parametrize(
    ("body", "encoding", "status", "code"),
    [
        (gzip.compress(b"a" * 101), "gzip", 413, "body_too_large"),
        (gzip.compress(bytes(2**30)), "gzip", 413, "body_too_large"),
        (gzip.compress(b"a" * 50)[:-1], "gzip", 400, "invalid_encoding"),
        (gzip.compress(b"a" * 50) + b"more", "gzip", 400, "invalid_encoding"),
        (b"plain", "gzip", 400, "invalid_encoding"),
        (b"", "deflate", 400, "invalid_encoding"),
        (gzip.compress(b"a"), "deflate", 400, "invalid_encoding"),
        (b"a", "br", 415, "unsupported_content_encoding"),
    ],
    ids=["large", "bomb", "cut", "trailing", "plain", "empty", "other", "unknown"],
)
def test_what_is_too_large_or_not_so_compressed_is_refused(body, encoding, status, code):
    with pytest.raises(RequestError) as raised:
        inflate(body, encoding, 100)
    assert (raised.value.status, raised.value.code) == (status, code)
