"""Translation of huggingface_hub's and httpx2's exceptions to SourceError, without URLs that hold a signature."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants
from huggingface_hub import errors as hub

from llorch.base.printable import printable
from llorch.sources.errors import Damaged, Denied, Missing, SourceError, Unreachable
from llorch.sources.urls import without_query, without_secrets

TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})  # statuses for which a retry may succeed
ASK = "a token is taken from HF_TOKEN or `hf auth login`"
ACCEPT = f"accept its terms on its page; {ASK}"


@contextmanager
def translated_errors(source: str, path: str | None = None) -> Iterator[None]:
    """Within the `with` block, turn errors of both libraries into SourceError about `source`, or its file `path`."""
    try:
        yield
    except SourceError:
        raise
    except (hub.HfHubHTTPError, httpx2.HTTPError, httpx2.InvalidURL, hub.OfflineModeIsEnabled) as error:
        raise translate(error, source, path) from error
    except (hub.EntryNotFoundError, hub.FileMetadataError) as error:
        raise translate(error.__cause__ or error, source, path) from error
    except OSError as error:
        if error.errno is not None:  # from the operating system
            raise
        # The only other one is huggingface_hub's, for a wrong number of bytes.
        raise Damaged(source, f"{_of(path)} came in another size than was promised") from error
    except (ValueError, LookupError, TypeError) as error:  # the answer was not a hub's
        raise not_a_hub(source) from error


def translate(error: BaseException, source: str, path: str | None) -> SourceError:
    """Return the SourceError for an error of the libraries."""
    if isinstance(error, hub.GatedRepoError):
        return Denied(source, "it is gated, and this user has no access", hint=ACCEPT)
    if isinstance(error, hub.RepositoryNotFoundError):
        return Missing(source, "there is no such repository, or it is private", hint=ASK)
    if isinstance(error, hub.RevisionNotFoundError):
        return Missing(source, "the repository has no such branch, tag or commit")
    if isinstance(error, hub.DisabledRepoError):
        return Denied(source, "the hub has taken the repository away")
    if isinstance(error, hub.RemoteEntryNotFoundError):
        return Missing(source, f"there is no {_of(path)} in the repository")
    if isinstance(error, hub.HfHubHTTPError):
        return of_status(error.response.status_code, source, path)
    if isinstance(error, hub.OfflineModeIsEnabled):
        return Unreachable(source, f"{_of(path)} is not in the cache, and HF_HUB_OFFLINE forbids to fetch it")
    if isinstance(error, hub.FileMetadataError):
        return not_a_hub(source)
    return of_connection(error, source)


def not_a_hub(source: str) -> SourceError:
    """Return the error for a server that does not answer like a hub."""
    what = f"{without_secrets(constants.ENDPOINT)} does not answer as a hub does"
    return Unreachable(source, what, hint="is HF_ENDPOINT right, or is a portal or proxy in between?")


def of_connection(error: BaseException, source: str) -> SourceError:
    """Return the error for a failed connection."""
    if isinstance(error, httpx2.TooManyRedirects):
        return Unreachable(source, "the server redirects without end")
    if isinstance(error, httpx2.TimeoutException):
        return Unreachable(source, "the server does not answer in time", transient=True)
    what = without_query(str(error)) or type(error).__name__
    if isinstance(error, httpx2.ProxyError):
        return Unreachable(source, f"the proxy fails: {what}")
    if isinstance(error, httpx2.ReadError | httpx2.RemoteProtocolError):
        return Unreachable(source, f"the connection was cut: {what}", transient=True)
    if isinstance(error, httpx2.NetworkError):
        return Unreachable(source, f"the server cannot be reached: {what}", transient=True)
    return Unreachable(source, what)


def of_status(status: int, source: str, path: str | None, *, hint: str = ASK) -> SourceError:
    """Return the error for an HTTP status."""
    if status == 401:
        return Denied(
            source, "the server wants to know who asks, and does not accept what it was told", hint=hint
        )
    if status == 403:
        return Denied(source, f"the server forbids {_of(path)}", hint=hint)
    if status in (404, 410):
        return Missing(source, f"there is no {_of(path)}")
    return Unreachable(source, f"the server answers {status}", transient=status in TRANSIENT)


def _of(path: str | None) -> str:
    return "it" if path is None else printable(path, 200)
