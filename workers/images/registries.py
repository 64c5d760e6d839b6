"""Reading images from registries (OCI distribution, Docker registry v2), as whoever deploys may.

A reference, a redirect and a token's address come from strangers, so each connection is judged as
those of agents are (docs/decisions/0019). What is read is checked against its digest.
"""

import asyncio
import hashlib
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn
from urllib.parse import urlencode, urljoin, urlsplit

import msgspec
from msgspec import Struct

from domain.image_references import DOCKER_HUB, Reference
from workers.builder.failures import Failure
from workers.builder.tools import Credential
from workers.gateway.outbound import Answer, Outbound, OutboundFailed, OutboundRefused

INSECURE_SETTING = "ARGOSY_INSECURE_REGISTRIES"
DOCKER_HUB_API = "registry-1.docker.io"
INDEXES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
MANIFESTS = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    }
)
MAX_MANIFEST_BYTES = 4 << 20
MAX_TOKEN_BYTES = 1 << 20
MAX_REDIRECTS = 5
TRIES, FIRST_PAUSE_SECONDS = 3, 0.5
BUSY = frozenset({429, 500, 502, 503, 504})
BLOB_SECONDS = 900.0

_CHALLENGE = re.compile(r'([a-zA-Z]+)="([^"]*)"')


class Manifest(Struct, frozen=True):
    """What a registry has under a name: an image, or an index of images. digest: of `data`."""

    data: bytes
    media_type: str
    digest: str


class FetchFailed(Exception):
    """The image cannot be had; `failure` is for the person who deployed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class _Token(Struct):
    token: str = ""
    access_token: str = ""


class Repository:
    """One repository of a registry, opened for one build. step: which one it is in, for failures.

    All methods raise FetchFailed, and try again what may go better.
    """

    def __init__(
        self,
        outbound: Outbound,
        reference: Reference,
        *,
        insecure: bool,
        credential: Credential | None,
    ) -> None:
        self.step = "resolve"
        self.name = f"{reference.host}/{reference.name}"
        self._outbound = outbound
        self._reference = reference
        self._credential = credential
        self._authorization = ""
        self._insecure = insecure
        host = DOCKER_HUB_API if reference.host == DOCKER_HUB else reference.host
        self._base = f"{'http' if insecure else 'https'}://{host}/v2/{reference.name}/"

    async def manifest(self, name: str) -> Manifest:
        """Return the manifest with this tag or digest."""
        headers = {"accept": ", ".join(sorted(MANIFESTS | INDEXES))}

        async def read(answer: Answer) -> Manifest:
            data = await answer.body(MAX_MANIFEST_BYTES)
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
            return Manifest(data, media_type, f"sha256:{hashlib.sha256(data).hexdigest()}")

        found = await self._get(f"manifests/{name}", headers, read)
        if name.startswith("sha256:") and found.digest != name:
            self._fail(
                f"The registry answered with another manifest than {name}.",
                "Distrust the registry, or what is between it and this server.",
            )
        return found

    async def blob(self, digest: str, into: Path, most: int) -> int:
        """Write a blob to a file, at most `most` bytes; returns how many there were."""

        async def read(answer: Answer) -> int:
            with into.open("wb") as file:
                return await self._receive(answer, digest, file, most)

        return await self._get(f"blobs/{digest}", {}, read)

    async def small_blob(self, digest: str, most: int) -> bytes:
        """Return a blob of at most `most` bytes."""

        async def read(answer: Answer) -> bytes:
            return await answer.body(most)

        data = await self._get(f"blobs/{digest}", {}, read)
        self._check(digest, hashlib.sha256(data).hexdigest())
        return data

    async def _receive(self, answer: Answer, digest: str, file: BinaryIO, most: int) -> int:
        size, hashed = 0, hashlib.sha256()
        async for chunk in answer.chunks():
            size += len(chunk)
            if size > most:
                self.too_large(most)
            hashed.update(chunk)
            await asyncio.to_thread(file.write, chunk)
        self._check(digest, hashed.hexdigest())
        return size

    def too_large(self, most: int) -> NoReturn:
        """Fail for an image that has more than `most` bytes in its archives."""
        self._fail(
            f"The image {self._reference} is larger than the {most >> 20} MB that it may have.",
            "Deploy a smaller image.",
        )

    def _check(self, digest: str, found: str) -> None:
        if digest != f"sha256:{found}":
            self._fail(
                f"The registry sent something else than {digest}.",
                "Deploy again; if it stays, the image has to be pushed again.",
            )

    async def _get[T](
        self, path: str, headers: Mapping[str, str], read: Callable[[Answer], Awaitable[T]]
    ) -> T:
        pause = FIRST_PAUSE_SECONDS
        for tries_left in reversed(range(TRIES)):
            try:
                async with self._signed_in(path, headers) as answer:
                    if answer.status == 200:
                        return await read(answer)
                    if answer.status not in BUSY or not tries_left:
                        self._refused(answer.status, path)
            except OutboundRefused as error:
                self._fail(
                    f"The registry cannot be asked: {error.detail}",
                    "Deploy an image from a registry on the public internet.",
                )
            except OutboundFailed as error:
                if not tries_left:
                    self._fail(
                        f"The registry could not be reached: {error.detail}",
                        "Deploy again when it is there. If it has no TLS, an operator must name "
                        f"it in {INSECURE_SETTING}.",
                    )
            await asyncio.sleep(pause)
            pause *= 2
        raise AssertionError

    @asynccontextmanager
    async def _signed_in(self, path: str, headers: Mapping[str, str]) -> AsyncGenerator[Answer]:
        """Ask, and ask again with what the registry wants to see."""
        url = self._base + path
        async with self._followed(url, headers) as answer:
            challenge = answer.headers.get("www-authenticate", "")
            if answer.status != 401 or not challenge:
                yield answer
                return
        self._authorization = await self._authorize(challenge)
        async with self._followed(url, headers) as answer:
            yield answer

    @asynccontextmanager
    async def _followed(self, url: str, headers: Mapping[str, str]) -> AsyncGenerator[Answer]:
        """Ask, wherever the registry keeps it. What signs us in goes to the registry alone."""
        home = urlsplit(url)[:2]
        for _ in range(MAX_REDIRECTS + 1):
            signed = self._authorization and urlsplit(url)[:2] == home
            own = {"authorization": self._authorization} if signed else {}
            asking = self._outbound.request(
                "GET", url, headers={**headers, **own}, seconds=BLOB_SECONDS
            )
            async with asking as answer:
                if answer.status not in (301, 302, 303, 307, 308):
                    yield answer
                    return
                url = urljoin(url, answer.headers.get("location", ""))
            self._check_scheme(url)
        self._fail("The registry sends us from one place to the next.", "Ask who runs it.")

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
        query = {"scope": f"repository:{self._reference.name}:pull"}
        if said.get("service"):
            query["service"] = said["service"]
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        headers = {"authorization": _basic(credential)} if credential else {}
        async with self._outbound.request("GET", url, headers=headers) as answer:
            if answer.status in BUSY:
                raise OutboundFailed(f"{urlsplit(url).netloc} answered with {answer.status}.")
            if answer.status != 200:
                self._refused(401, "")
            try:
                token = msgspec.json.decode(await answer.body(MAX_TOKEN_BYTES), type=_Token)
            except msgspec.MsgspecError:
                self._fail("The registry's token cannot be read.", "Ask who runs it.")
        return f"Bearer {token.token or token.access_token}"

    def _check_scheme(self, url: str) -> None:
        if not self._insecure and urlsplit(url).scheme != "https":
            self._fail(
                f"The registry sends us to {urlsplit(url).netloc or url!r} without TLS.",
                f"An operator can name the registry in {INSECURE_SETTING}.",
            )

    def _refused(self, status: int, path: str) -> NoReturn:
        image, host = self._reference, self._reference.host
        if status in (401, 403):
            said = (
                f"The registry {host} refused what this workspace signs in with for {image}."
                if self._credential
                else f"The registry {host} gives {image} to nobody who has not signed in."
            )
            self._fail(
                said, "Check the name. `argosy registry apply` says what to sign in with there."
            )
        if status == 404 and path.startswith("manifests/"):
            self._fail(
                f"There is no image {image}.",
                "Check its name and tag, and that it has been pushed.",
            )
        self._fail(
            f"The registry {host} answered with {status} for {path}.",
            "Deploy again; if it stays, ask who runs the registry.",
        )

    def _fail(self, detail: str, hint: str) -> NoReturn:
        raise FetchFailed(Failure(step=self.step, detail=detail, hint=hint))


def _basic(credential: Credential) -> str:
    pair = f"{credential.username}:{credential.password}".encode()
    return f"Basic {b64encode(pair).decode()}"
