"""How the OCI distribution specification says things: who asks, what is wrong, which part."""

import base64
import binascii
import re
from typing import Any

import msgspec
from litestar import MediaType, Response
from litestar.types import HTTPScope

from api.auth import presented_key
from api.headers import header
from api.problems import Problem
from domain.errors import ArgosyError, NotFound, Unauthenticated

PREFIX = "/v2"
CHALLENGE = 'Basic realm="Argosy"'

# The specification's codes, by the type of our problem.
CODES = {
    "unauthenticated": "UNAUTHORIZED",
    "forbidden": "DENIED",
    "not-found": "NAME_UNKNOWN",
    "manifest-unknown": "MANIFEST_UNKNOWN",
    "blob-unknown": "BLOB_UNKNOWN",
    "method-not-allowed": "UNSUPPORTED",
    "limit-reached": "TOOMANYREQUESTS",
    "malformed": "UNSUPPORTED",
    "range-not-satisfiable": "UNSUPPORTED",
}

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


class ManifestUnknown(NotFound):
    """There is no image of this tag or digest; `detail` says whether there may be one later."""

    type = "manifest-unknown"
    title = "There is no such image"


class BlobUnknown(NotFound):
    """No image of this agent has this blob, or the blob store has lost it."""

    type = "blob-unknown"
    title = "There is no such blob"


class RangeNotSatisfiable(ArgosyError):
    """The blob ends before the part that is asked for begins. Ask for all of it."""

    type = "range-not-satisfiable"
    status = 416
    title = "There is no such part"


def password_of(scope: HTTPScope) -> str:
    """Return the key that a request carries: as a password, or as elsewhere.

    Raises Unauthenticated: container engines ask first, and log in when they are told to.
    """
    scheme, _, words = (header(scope, b"authorization") or "").partition(" ")
    key = _password(words) if scheme.lower() == "basic" else presented_key(scope)
    if not key:
        raise Unauthenticated("Log in with any user name, and an API key as the password.")
    return key


def envelope(problem: Problem) -> Response[Any]:
    """Return the specification's list of errors, of which there is one."""
    headers = dict(problem.headers)
    if problem.status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    if problem.type == RangeNotSatisfiable.type:
        headers["Content-Range"] = f"bytes */{problem.members['size']}"
    code = CODES.get(problem.type, "UNKNOWN")
    detail = {"type": f"/problems/{problem.type}", "request_id": problem.request_id}
    body = {"errors": [{"code": code, "message": problem.detail, "detail": detail}]}
    return Response(
        msgspec.json.encode(body),
        status_code=problem.status,
        media_type=MediaType.JSON,
        headers=headers,
    )


def part_of(scope: HTTPScope, size: int, etag: str) -> tuple[int, int] | None:
    """Return start and stop of the part that is asked for; None for all of it.

    Several parts, and nonsense, mean all of it, as RFC 9110 allows. Raises RangeNotSatisfiable.
    """
    found = _RANGE.fullmatch(header(scope, b"range") or "")
    if found is None or header(scope, b"if-range") not in (None, etag):
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if first and last and int(last) < start:
        return None
    if start >= size:
        raise RangeNotSatisfiable(f"The blob has {size} bytes.", size=size)
    return start, stop


def page_of(tags: list[str], limit: int | None, last: str) -> tuple[list[str], bool]:
    """Return the tags after `last`, at most `limit`, and whether there are more."""
    rest = [tag for tag in tags if tag > last]
    page = rest if limit is None else rest[:limit]
    return page, bool(page) and len(page) < len(rest)


def _password(words: str) -> str:
    try:
        name_and_password = base64.b64decode(words.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return name_and_password.partition(":")[2]
