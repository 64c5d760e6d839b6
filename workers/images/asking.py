"""Asking a registry over HTTP: signed in, redirected, and never led to where it must not be.

A redirect, an upload's place and a token's address come from strangers, so each connection is
judged as those of agents are (docs/decisions/0019).
"""

import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

import msgspec
from msgspec import Struct

from domain.image_references import DOCKER_HUB
from workers.builder.tools import Credential
from workers.gateway.outbound import Answer, Outbound, OutboundFailed

INSECURE_SETTING = "ARGOSY_INSECURE_REGISTRIES"
DOCKER_HUB_API = "registry-1.docker.io"
MAX_TOKEN_BYTES = 1 << 20
MAX_REDIRECTS = 5
BUSY = frozenset({429, 500, 502, 503, 504})
SECONDS = 900.0

_CHALLENGE = re.compile(r'([a-zA-Z]+)="([^"]*)"')
_REDIRECTS = (301, 302, 303, 307, 308)


class Misled(Exception):
    """The registry cannot be asked as it wants to be; `hint` says what to do about it."""

    def __init__(self, detail: str, hint: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint


class SignInRefused(Exception):
    """The registry gives no token for what was signed in with."""


class _Token(Struct):
    token: str = ""
    access_token: str = ""


class RegistryApi:
    """One repository of a registry, `name` at `host`. actions: what is to be done there.

    more: other repositories that are read meanwhile.
    """

    def __init__(
        self,
        outbound: Outbound,
        host: str,
        name: str,
        *,
        insecure: bool,
        credential: Credential | None,
        actions: str = "pull",
    ) -> None:
        self.more: Sequence[str] = ()
        self._outbound = outbound
        self._name = name
        self._credential = credential
        self._actions = actions
        self._authorization = ""
        self._insecure = insecure
        place = DOCKER_HUB_API if host == DOCKER_HUB else host
        self._base = f"{'http' if insecure else 'https'}://{place}/v2/{name}/"

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> AsyncGenerator[Answer]:
        """Ask below the repository, or at a whole URL; once more with what it wants to see.

        Only what is read is followed to where the registry keeps it. Raises Misled, SignInRefused,
        OutboundRefused and OutboundFailed.
        """
        url = _join(self._base, path)
        self._check_scheme(url)
        async with self._followed(method, url, headers or {}, body) as answer:
            challenge = answer.headers.get("www-authenticate", "")
            if answer.status != 401 or not challenge:
                yield answer
                return
        self._authorization = await self._authorize(challenge)
        async with self._followed(method, url, headers or {}, body) as answer:
            yield answer

    @asynccontextmanager
    async def _followed(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> AsyncGenerator[Answer]:
        """What signs us in goes to the registry alone."""
        home = urlsplit(self._base)[:2]
        for _ in range(MAX_REDIRECTS + 1):
            signed = self._authorization and _split(url)[:2] == home
            own = {"authorization": self._authorization} if signed else {}
            asking = self._outbound.request(
                method, url, headers={**headers, **own}, body=body, seconds=SECONDS
            )
            async with asking as answer:
                if answer.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                    yield answer
                    return
                url = _join(url, answer.headers.get("location", ""))
            self._check_scheme(url)
        raise Misled("The registry sends us from one place to the next.", "Ask who runs it.")

    async def _authorize(self, challenge: str) -> str:
        """Return the header that answers a challenge (RFC 7235; Docker's token protocol)."""
        kind = challenge.partition(" ")[0].lower()
        credential = self._credential
        if kind == "basic" and credential:
            return _basic(credential)
        said = dict(_CHALLENGE.findall(challenge))
        realm = said.get("realm", "")
        if kind != "bearer" or not realm:
            return ""
        self._check_scheme(realm)
        scopes = [f"repository:{self._name}:{self._actions}"]
        query = [
            ("scope", each) for each in (*scopes, *(f"repository:{m}:pull" for m in self.more))
        ]
        if said.get("service"):
            query.append(("service", said["service"]))
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        headers = {"authorization": _basic(credential)} if credential else {}
        async with self._outbound.request("GET", url, headers=headers) as answer:
            if answer.status in BUSY:
                raise OutboundFailed(f"{urlsplit(url).netloc} answered with {answer.status}.")
            if answer.status != 200:
                raise SignInRefused
            try:
                token = msgspec.json.decode(await answer.body(MAX_TOKEN_BYTES), type=_Token)
            except msgspec.MsgspecError:
                raise Misled("The registry's token cannot be read.", "Ask who runs it.") from None
        return f"Bearer {token.token or token.access_token}"

    def _check_scheme(self, url: str) -> None:
        parts = _split(url)
        if not self._insecure and parts.scheme != "https":
            raise Misled(
                f"The registry sends us to {parts.netloc or url!r} without TLS.",
                f"An operator can name the registry in {INSECURE_SETTING}.",
            )


def _join(base: str, url: str) -> str:
    try:
        return urljoin(base, url)
    except ValueError:
        raise _no_url(url) from None


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise _no_url(url) from None


def _no_url(url: str) -> Misled:
    return Misled(f"The registry sends us to {url[:200]!r}, which is no URL.", "Ask who runs it.")


def _basic(credential: Credential) -> str:
    pair = f"{credential.username}:{credential.password}".encode()
    return f"Basic {b64encode(pair).decode()}"
