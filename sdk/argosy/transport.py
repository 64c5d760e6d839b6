"""One request to the server: keys, time limits, retries that never do a thing twice, problems."""

import importlib
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from argosy.errors import LimitReached, Refused, ServerUnreachable, UnreadableAnswer, refusal

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
SILENCE_SECONDS = 45.0  # a stream's heartbeat comes every 15 s
MOST_TRIES = 6
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0
RETRIED = frozenset({429, 502, 503, 504})
CHUNK_BYTES = 1 << 16
KEY_IN_USE = "idempotency-key-in-use"  # by our own try before, at a server that hung up

T = TypeVar("T")
Sent = Callable[[int, int], None]
"""Told how many bytes of a body were sent, and of how many; again from 0 when it is retried."""
Query = Mapping[str, str | int | list[str] | None]


class Transport:
    """Speaks to one server. The key is in no error and no printed form.

    retry_seconds: how long one call may go on being retried. A call is retried when there was no
    answer, or 429, 502, 503 or 504, or while an earlier try of it is under way; every POST carries
    an idempotency key, so that the server does it once.
    """

    def __init__(self, url: str, api_key: str, *, retry_seconds: float) -> None:
        self.url = url.rstrip("/")
        self._retry_seconds = retry_seconds
        host = urlsplit(self.url).hostname or ""
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": "argosy-python"},
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            # Loading the certificate store takes longer than a request to a server without TLS.
            verify=self.url.startswith("https://"),
            # A proxy of the environment cannot reach this machine's own loopback.
            trust_env=host not in ("127.0.0.1", "localhost", "::1"),
            event_hooks={"request": [_trace]},
        )

    def __repr__(self) -> str:
        return f"Transport({self.url!r})"

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def get(self, path: str, kind: type[T], *, query: Query | None = None) -> T:
        """Return what is at `path`. Raises ServerUnreachable, UnreadableAnswer or a Refused."""
        return _decoded(self._send("GET", path, query=query), kind)

    def get_bytes(self, path: str) -> bytes:
        """Return the bytes at `path`. Raises as `get`."""
        return self._send("GET", path).content

    def post(
        self, path: str, kind: type[T], body: Mapping[str, Any], *, on_sent: Sent | None = None
    ) -> T:
        """Send a command once, however often it takes. Raises as `get`."""
        given = {name: value for name, value in body.items() if value is not None}
        encoded = msgspec.json.encode(given)
        return _decoded(self._send("POST", path, body=encoded, on_sent=on_sent), kind)

    def put(self, path: str, kind: type[T], body: Mapping[str, Any]) -> T:
        """Declare what is at `path`, whole. Raises as `get`."""
        return _decoded(self._send("PUT", path, body=msgspec.json.encode(body)), kind)

    def delete(self, path: str) -> None:
        """Delete what is at `path`. Raises as `get`."""
        self._send("DELETE", path)

    @contextmanager
    def stream(self, path: str, query: Query | None, after: int) -> Generator[httpx.Response]:
        """Open events after `after`, once. Raises as `get`, and httpx.TransportError."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if after:
            headers["Last-Event-ID"] = str(after)
        limits = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        given = _query(query)
        with self._http.stream("GET", path, params=given, headers=headers, timeout=limits) as got:
            if got.status_code != 200:
                got.read()
                raise _problem(got)
            if not got.headers.get("content-type", "").startswith("text/event-stream"):
                raise UnreadableAnswer(f"{self.url}{path} does not stream events.")
            yield got

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        on_sent: Sent | None = None,
    ) -> httpx.Response:
        headers: dict[str, str] = {}
        if body is not None:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        deadline = time.monotonic() + self._retry_seconds
        given = _query(query)
        for attempt in range(MOST_TRIES):
            wait = delay(attempt)
            last = attempt + 1 == MOST_TRIES
            content = body if body is None or on_sent is None else _told(body, on_sent)
            try:
                answer = self._http.request(
                    method, path, params=given, content=content, headers=headers
                )
            except httpx.TransportError as error:
                if last or time.monotonic() + wait > deadline:
                    raise ServerUnreachable(self.url, _why(error)) from None
                time.sleep(wait)
                continue
            if answer.is_success:
                return answer
            problem = _problem(answer)
            retried = answer.status_code in RETRIED or problem.type == KEY_IN_USE
            wait = max(wait, _retry_after(answer))
            if not retried or last or time.monotonic() + wait > deadline:
                raise problem
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")


def _told(body: bytes, on_sent: Sent) -> Iterator[bytes]:
    """Yield a body in pieces, and say so of each when the next is asked for."""
    for start in range(0, len(body), CHUNK_BYTES):
        on_sent(start, len(body))
        yield body[start : start + CHUNK_BYTES]
    on_sent(len(body), len(body))


def delay(attempt: int) -> float:
    """Return seconds to wait after the `attempt`-th try (from 0): doubling, bounded, jittered."""
    longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2**attempt)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing


def _query(query: Query | None) -> dict[str, str | int | list[str]]:
    return {name: value for name, value in (query or {}).items() if value not in (None, "", [])}


def _decoded(answer: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableAnswer(
            f"The answer of {answer.request.url} is not what Argosy sends: {error}"
        ) from None


def _problem(answer: httpx.Response) -> Refused:
    try:
        found = msgspec.json.decode(answer.content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = {}
    made = refusal(answer.status_code, found, request_id=answer.headers.get("x-request-id", ""))
    if isinstance(made, LimitReached) and "retry_after" not in made.members:
        made.members["retry_after"] = _retry_after(answer)
    return made


def _retry_after(answer: httpx.Response) -> float:
    """Return what the server asks to wait; an HTTP date counts as not said."""
    try:
        return max(0.0, float(answer.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0


def _why(error: httpx.TransportError) -> str:
    match error:
        case httpx.ConnectTimeout():
            return f"no connection within {CONNECT_SECONDS:g} s"
        case httpx.TimeoutException():
            return "it took too long to answer"
        case httpx.ConnectError():
            return "nothing listens there"
        case _:
            return str(error) or type(error).__name__


def _trace(request: httpx.Request) -> None:
    """Make a request a part of its caller's trace: of OpenTelemetry's, or `TRACEPARENT`'s."""
    if "opentelemetry" in sys.modules:  # else nobody here has begun one
        importlib.import_module("opentelemetry.propagate").inject(request.headers)
    given = os.environ.get("TRACEPARENT", "")
    if "traceparent" not in request.headers and given.isascii() and given.isprintable() and given:
        request.headers["traceparent"] = given
