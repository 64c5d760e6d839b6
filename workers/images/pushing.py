"""An image from the blob store to the operator's registry: layers and configuration, then its name.

What the registry has is not sent again; what another repository of it has is mounted from there.
The manifest goes last, so what can be pulled is whole. All of it may be repeated at any time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import msgspec
from msgspec import Struct

from adapters.settings import Settings
from domain.errors import Invalid, Unavailable
from domain.execution import Image
from domain.image_references import Reference, read_reference
from domain.images import MANIFEST_TYPE
from workers.builder.failures import Failure
from workers.builder.memory import recall, remember
from workers.builder.programs import Say
from workers.builder.tools import BuildTools, Credential
from workers.gateway.http_outbound import open_http_outbound
from workers.gateway.outbound import Answer, OutboundFailed, OutboundRefused
from workers.images.asking import BUSY, INSECURE_SETTING, Misled, RegistryApi, SignInRefused
from workers.images.fetching import is_insecure

STEP = "push"
SETTING = "ARGOSY_REGISTRY"
LOGIN_SETTING = "ARGOSY_REGISTRY_LOGIN_FILE"
KIND = "pushed"  # what builders of this machine remember
TRIES, FIRST_PAUSE_SECONDS = 5, 0.5
CHUNK = 8 << 20  # bytes of a layer that are in memory
MAX_CHUNK = 64 << 20  # what a registry may demand as the least
OCTETS = "application/octet-stream"
GONE = frozenset({404, 416})  # an upload that the registry has forgotten


class PushFailed(Exception):
    """The image cannot be pushed; `failure` is for the person who deployed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class _Kind(Struct, rename="camel"):
    """What a manifest says that it is; an engine's may be Docker's."""

    media_type: str = MANIFEST_TYPE


class Again(Exception):
    """It may go better another time."""


def check_registry(settings: Settings) -> None:
    """Raise Invalid for a registry that images cannot be pushed to, or a login without one."""
    if settings.registry:
        pushed_to(settings, "workspace", "agent", "tag")
    elif settings.registry_login_file != Path():
        raise Invalid(f"{LOGIN_SETTING} is set, and {SETTING} is not.", field=SETTING)


def pushed_to(settings: Settings, workspace: str, agent: str, tag: str) -> Reference:
    """Return where an image is pushed to. workspace: its slug. Raises Invalid."""
    wrong = Invalid(
        f"{SETTING} must be a registry's host, and a path if it has one, such as "
        "registry.example.com/argosy, in lower case and without a scheme.",
        field=SETTING,
    )
    try:
        found = read_reference(f"{settings.registry}/{workspace}/{agent}:{tag}")
    except Invalid:
        raise wrong from None
    if found.host != settings.registry.partition("/")[0]:
        raise wrong
    return found


async def push_image(
    tools: BuildTools, reference: Reference, image: Image, say: Say
) -> str | Failure:
    """Push it to ARGOSY_REGISTRY; returns what it is pulled by, with its digest.

    Raises Invalid for a setting, and Unavailable for a login or a blob that cannot be read.
    """
    settings = tools.settings
    async with open_http_outbound(settings) as outbound:
        api = RegistryApi(
            outbound,
            reference.host,
            reference.name,
            insecure=is_insecure(settings, reference.host),
            credential=await asyncio.to_thread(_credential, settings),
            actions="pull,push",
        )
        push = _Push(tools, reference, api, say)
        try:
            await push.image(image)
        except PushFailed as error:
            return error.failure
    return f"{reference.host}/{reference.name}@{image.manifest}"


class _Push:
    """One image on its way."""

    def __init__(self, tools: BuildTools, reference: Reference, api: RegistryApi, say: Say) -> None:
        self._tools = tools
        self._reference = reference
        self._api = api
        self._say = say

    async def image(self, image: Image) -> None:
        """Push all of it. Raises PushFailed."""
        for digest in dict.fromkeys((*image.layers, image.config)):
            said = await self._surely(lambda digest=digest: self._blob(digest))
            await self._say(f"{digest}: {said}")
        manifest = await self._tools.blobs.get(image.manifest)
        await self._surely(lambda: self._manifest(manifest))

    async def _surely[T](self, work: Callable[[], Awaitable[T]]) -> T:
        """Do a part of it, and again where that may help."""
        host, pause, why = self._reference.host, FIRST_PAUSE_SECONDS, ""
        for tries_left in reversed(range(TRIES)):
            try:
                return await work()
            except Misled as misled:
                self._fail(misled.detail, misled.hint)
            except SignInRefused:
                self._refused(401, "a token")
            except OutboundRefused as error:
                self._fail(
                    f"The registry {host} cannot be asked: {error.detail}",
                    f"An operator has to allow it, or to name another one in {SETTING}.",
                )
            except (OutboundFailed, Again) as error:
                why = error.detail if isinstance(error, OutboundFailed) else str(error)
            if tries_left:
                await self._say(f"The registry is asked again in {pause:g} s: {why}")
                await asyncio.sleep(pause)
                pause *= 2
        return self._fail(
            f"The image was made, and could not be pushed to the registry {host}: {why}",
            f"Deploy again when it is there: what was pushed is not pushed again. {SETTING} says "
            f"where it is; if it has no TLS, {INSECURE_SETTING} must name it.",
        )

    async def _blob(self, digest: str) -> str:
        """Have a blob in the repository; returns in words how."""
        async with self._api.ask("HEAD", f"blobs/{digest}") as answer:
            if answer.status == 200:
                await self._note(digest)
                return "was there"
            if answer.status != 404:
                self._refused(answer.status, f"blobs/{digest}")
        place, least = await self._begin(digest)
        if not place:
            return "was in another repository"
        await self._upload(digest, place, max(CHUNK, least))
        await self._note(digest)
        return f"{await self._tools.blobs.size(digest) / 1e6:.1f} MB"

    async def _begin(self, digest: str) -> tuple[str, int]:
        """Begin an upload; returns its place and the least part it takes.

        The place is empty if another repository had the blob.
        """
        path = "blobs/uploads/"
        known = await recall(self._tools.layers.directory, KIND, self._key(digest))
        other = known.decode() if known else ""
        if other and other != self._reference.name:
            self._api.more = (other,)
            path += f"?mount={quote(digest)}&from={quote(other, safe='')}"
        async with self._api.ask("POST", path) as answer:
            if answer.status == 201:
                return "", 0
            least = answer.headers.get("oci-chunk-min-length", "")
            most = min(int(least), MAX_CHUNK) if least.isdecimal() else 0
            return self._place(answer, path), most

    async def _upload(self, digest: str, place: str, chunk: int) -> None:
        blobs = self._tools.blobs
        size = await blobs.size(digest)
        for start in range(0, size, chunk):
            stop = min(start + chunk, size)
            part = b"".join([piece async for piece in blobs.part(digest, start, stop)])
            headers = {"content-type": OCTETS, "content-range": f"{start}-{stop - 1}"}
            async with self._api.ask("PATCH", place, headers, part) as answer:
                place = self._place(answer, "an upload")
        place = f"{place}{'&' if '?' in place else '?'}digest={quote(digest)}"
        async with self._api.ask("PUT", place, {"content-type": OCTETS}) as answer:
            if answer.status not in (201, 204):
                self._refused(answer.status, "an upload")

    async def _manifest(self, manifest: bytes) -> None:
        path = f"manifests/{self._reference.tag}"
        headers = {"content-type": msgspec.json.decode(manifest, type=_Kind).media_type}
        async with self._api.ask("PUT", path, headers, manifest) as answer:
            if answer.status != 201:
                self._refused(answer.status, path)

    def _place(self, answer: Answer, what: str) -> str:
        """Return where an upload goes on."""
        place = answer.headers.get("location", "")
        if answer.status != 202 or not place:
            self._refused(answer.status, what)
        return place

    async def _note(self, digest: str) -> None:
        """Remember where the registry has it. It may be there no more when somebody asks."""
        name = self._reference.name.encode()
        await remember(self._tools.layers.directory, KIND, self._key(digest), name)

    def _key(self, digest: str) -> str:
        return sha256(f"{self._reference.host}\n{digest}".encode()).hexdigest()

    def _refused(self, status: int, path: str) -> NoReturn:
        host = self._reference.host
        if status in BUSY | GONE:
            raise Again(f"It answered with {status} for {path}.")
        if status in (401, 403):
            self._fail(
                f"The registry {host} does not let Argosy push to {self._reference.name}.",
                f"The operator must give a login that may push there, in {LOGIN_SETTING}.",
            )
        self._fail(
            f"The registry {host} answered with {status} for {path}.",
            "Deploy again; if it stays, the operator must look at the registry.",
        )

    def _fail(self, detail: str, hint: str) -> NoReturn:
        raise PushFailed(Failure(step=STEP, detail=detail, hint=hint))


def _credential(settings: Settings) -> Credential | None:
    """Read what is signed in with. Raises Unavailable."""
    file = settings.registry_login_file
    if file == Path():
        return None
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Unavailable(f"{LOGIN_SETTING}, {file}, cannot be read: {why}.") from None
    if len(lines) != 2 or not all(lines):
        raise Unavailable(f"{LOGIN_SETTING}, {file}, must have a user name and a password.")
    return Credential(*lines)
