"""What goes wrong with a bucket, in words that say what to do. The library's own texts are not passed on: they hold
addresses, access keys and what was signed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from modelyard.domain.errors import Unavailable
from modelyard.registry.content.storage import Missing

# By a URL's scheme: where the credentials are read from, and the endpoint.
_VARIABLES: Final = {
    "s3": ("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or a role of the machine)", "AWS_ENDPOINT_URL", "AWS"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS (or the machine's account)", "GOOGLE_BASE_URL", "GOOGLE"),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or an identity of the machine)",
           "AZURE_STORAGE_ENDPOINT", "AZURE"),
}  # fmt: skip
_NO_BUCKET: Final = r"NoSuchBucket|ContainerNotFound|ContainerBeingDeleted|specified bucket does not exist"
_NO_CREDENTIALS: Final = (
    r"169\.254\.|metadata\.google|MissingCredentials|Missing.*(Account|Key|Credential)|no credential"
)
# A resolver that answers, that there is no such name.
_UNKNOWN_NAME: Final = r"dns error.*(not known|No address associated)"
# What the library says or the service answers, and what that means.
_REASONS: Final = (
    (_NO_BUCKET, "there is no such bucket: make it, or correct MODELYARD_REGISTRY_URL"),
    (_NO_CREDENTIALS, "there are no credentials: set {credentials} where this runs"),
    (r"RequestTimeTooSkewed", "the clock of this machine is wrong: set it right"),
    (r"ExpiredToken|TokenRefreshRequired|InvalidToken", "the credentials have expired: renew {credentials}"),
    (r"InvalidAccessKeyId|SignatureDoesNotMatch|AuthenticationFailed|InvalidAuthenticationInfo",
     "the credentials are not accepted: correct {credentials}"),
    (r"PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint|TemporaryRedirect|configured region",
     "the bucket is in another region: set AWS_REGION to its own"),
    (r"AccessDenied|AllAccessDisabled|AccountProblem|AuthorizationFailure|AuthorizationPermissionMismatch",
     "permission is denied: allow these credentials to list, read, write and delete there"),
    (r"QuotaExceeded|InsufficientStorage", "there is no space left; free some, or run 'modelyard gc'"),
    (r"SlowDown|TooManyRequests|429 Too|ServerBusy", "it has too much to do: try again later"),
    (r"BadScheme", "its endpoint is not https: set {prefix}_ALLOW_HTTP=true if you trust the network between"),
    (r"[Cc]ertificate|InvalidContentType|TLS", "its endpoint's certificate is not trusted, or it does not speak https: "
     "check {endpoint}"),
    (r"dns error", "the name of its endpoint is not known: check {endpoint}, and the network"),
    (r"kind: (Connect|Timeout|Request|Interrupted)|TimedOut",
     "it cannot be reached, or does not answer: check {endpoint}, and the network"),
)  # fmt: skip
_CODES: Final = (re.compile(r"<Code>(\w{1,64})</Code>"), re.compile(r"status code: (\d{3})"))
_NO_RANGE: Final = re.compile(r"InvalidRange|status code: 416|Invalid range")


@contextmanager
def bucket_errors(url: str, key: str = "") -> Iterator[None]:
    """Has the library's errors as Unavailable and, with a ``key``, what is not there as Missing."""
    try:
        yield
    except FileNotFoundError as error:
        if key and not re.search(_NO_BUCKET, str(error)):
            raise Missing(f"The store in {url} has no {key}.") from None
        # Only a bucket that is not there has no place for what is written.
        raise Unavailable(f"The store in {url} cannot be used: {_said(_REASONS[0][1], url)}.") from None
    except (BaseError, ValueError) as error:
        raise Unavailable(f"The store in {url} cannot be used: {reason(error, url)}.") from None


def reason(error: Exception, url: str) -> str:
    """Why, and what to do. Nothing of the error's own text but its code."""
    text = str(error)
    for pattern, words in _REASONS:
        if re.search(pattern, text):
            return _said(words, url)
    if isinstance(error, UnauthenticatedError):
        return _said("the credentials are not accepted: correct {credentials}", url)
    if isinstance(error, PermissionDeniedError):
        return _said("permission is denied: allow these credentials to list, read, write and delete there", url)
    codes = [code[1] for pattern in _CODES if (code := pattern.search(text))]
    return f"it answers {codes[0]}" if codes else f"the request failed ({type(error).__name__})"


def is_lasting(error: Exception) -> bool:
    """Whether it is of no use to try again before somebody has mended something: there are no credentials, or the
    endpoint's name is not known."""
    return re.search(f"{_NO_CREDENTIALS}|{_UNKNOWN_NAME}", str(error), re.DOTALL) is not None


def is_past_the_end(error: Exception) -> bool:
    """Whether the object has no such range."""
    return _NO_RANGE.search(str(error)) is not None


def _said(words: str, url: str) -> str:
    credentials, endpoint, prefix = _VARIABLES.get(url.partition(":")[0], ("the credentials", "the endpoint", ""))
    return words.format(credentials=credentials, endpoint=endpoint, prefix=prefix)
