"""Reading images from registries (OCI distribution, Docker registry v2), as whoever deploys may.

A reference comes from strangers, so each connection is judged as those of agents are
(docs/decisions/0019). What is read is checked against its digest.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import BinaryIO, NoReturn

from msgspec import Struct

from domain.image_references import Reference
from workers.builder.failures import Failure
from workers.builder.tools import Credential
from workers.gateway.outbound import Answer, Outbound, OutboundFailed, OutboundRefused
from workers.images.asking import BUSY, INSECURE_SETTING, Misled, RegistryApi, SignInRefused

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
TRIES, FIRST_PAUSE_SECONDS = 3, 0.5


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
        self._reference = reference
        self._credential = credential
        self._api = RegistryApi(
            outbound, reference.host, reference.name, insecure=insecure, credential=credential
        )

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
                async with self._api.ask("GET", path, headers) as answer:
                    if answer.status == 200:
                        return await read(answer)
                    if answer.status not in BUSY or not tries_left:
                        self._refused(answer.status, path)
            except Misled as misled:
                self._fail(misled.detail, misled.hint)
            except SignInRefused:
                self._refused(401, path)
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
