"""The pull half of the OCI distribution API: agents' versions as images, for container engines.

`<workspace>/<agent>` is a repository. A blob is served through a repository whose versions have it
and no other, so that a digest tells nobody whether somebody else has the same.
"""

from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import HttpMethod, Request, Response, Router, get, route
from litestar.di import NamedDependency, Provide
from litestar.middleware import DefineMiddleware
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from api.auth import Authentication
from api.calls import Call, provide_call
from api.dialects.oci.answers import (
    PREFIX,
    BlobUnknown,
    ManifestUnknown,
    page_of,
    part_of,
    password_of,
)
from api.folding import fold, missing
from domain.agents import AGENT, Active
from domain.deploying import AGENT_NAMES
from domain.errors import NotFound
from domain.images import MANIFEST_TYPE, image_of, tagged, tags_of

READ = [HttpMethod.GET, HttpMethod.HEAD]
OCTETS = "application/octet-stream"


@get("/", opt={"needs": "read"})
async def check_version() -> Response[dict[str, str]]:
    """Say that this is a registry, and that the key is valid."""
    return Response({}, headers={"Docker-Distribution-API-Version": "registry/2.0"})


@route(
    "/{workspace:str}/{agent:str}/manifests/{reference:str}",
    http_method=READ,
    opt={"needs": "read"},
)
async def show_manifest(
    workspace: FromPath[str],
    agent: FromPath[str],
    reference: FromPath[str],
    request: Request[Any, Any, Any],
    call: NamedDependency[Call],
) -> Response[bytes | None]:
    """Return the manifest of a tag or digest."""
    digest = _manifest_of(await _repository(call, workspace, agent), reference)
    try:
        manifest = await call.services.blobs.get(digest)
    except NotFound:
        raise ManifestUnknown(f"The blob store has lost the manifest {digest}.") from None
    headers = {
        "Content-Type": MANIFEST_TYPE,
        "Content-Length": str(len(manifest)),
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
    }
    return Response(manifest if request.method == "GET" else None, headers=headers, status_code=200)


@route("/{workspace:str}/{agent:str}/blobs/{digest:str}", http_method=READ, opt={"needs": "read"})
async def show_blob(
    workspace: FromPath[str],
    agent: FromPath[str],
    digest: FromPath[str],
    request: Request[Any, Any, Any],
    call: NamedDependency[Call],
) -> Response[None] | Stream:
    """Return a layer or configuration, or a part of it."""
    found, blobs = await _repository(call, workspace, agent), call.services.blobs
    images = filter(None, map(image_of, found.versions.values()))
    if not any(digest in (image.manifest, image.config, *image.layers) for image in images):
        raise BlobUnknown(f"No image of {found.name} has the blob {digest[:100]!r}.")
    try:
        size = await blobs.size(digest)
    except NotFound:
        raise BlobUnknown(f"The blob store has lost the blob {digest}.") from None
    etag = f'"{digest}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(size),
        "Content-Type": OCTETS,
        "Docker-Content-Digest": digest,
        "ETag": etag,
    }
    if request.method == "HEAD":
        return Response(None, headers=headers, status_code=200)
    part = part_of(request.scope, size, etag)
    if part is None:
        return Stream(blobs.stream(digest), headers=headers, media_type=OCTETS, status_code=200)
    start, stop = part
    headers |= {
        "Content-Length": str(stop - start),
        "Content-Range": f"bytes {start}-{stop - 1}/{size}",
    }
    pieces = blobs.part(digest, start, stop)
    return Stream(pieces, headers=headers, media_type=OCTETS, status_code=206)


@get("/{workspace:str}/{agent:str}/tags/list", opt={"needs": "read"})
async def list_tags(
    workspace: FromPath[str],
    agent: FromPath[str],
    call: NamedDependency[Call],
    n: Annotated[int | None, QueryParameter(ge=0)] = None,
    last: Annotated[str, QueryParameter(max_length=128)] = "",
) -> Response[dict[str, Any]]:
    """List the tags in order, in pages of `n` where that is given."""
    found = await _repository(call, workspace, agent)
    tags, more = page_of(list(tagged(found.versions)), n, last)
    headers: dict[str, str] = {}
    if more:
        query = urlencode({"n": n, "last": tags[-1]})
        headers["Link"] = f'<{PREFIX}/{workspace}/{agent}/tags/list?{query}>; rel="next"'
    return Response({"name": f"{workspace}/{agent}", "tags": tags}, headers=headers)


def router() -> Router:
    """Return the routes. The native document does not list them: the specification does."""
    return Router(
        PREFIX,
        route_handlers=[check_version, show_manifest, show_blob, list_tags],
        middleware=[DefineMiddleware(Authentication, key_of=password_of)],
        dependencies={"call": Provide(provide_call)},
        include_in_schema=False,
    )


async def _repository(call: Call, workspace: str, name: str) -> Active:
    place = await call.workspace(workspace)
    found = (await fold(call.store, AGENT, await call.named(place, AGENT_NAMES, name))).state
    if not isinstance(found, Active):  # deleted since its name was looked up
        raise missing("agent", name)
    return found


def _manifest_of(agent: Active, reference: str) -> str:
    """Return the digest of a manifest. Raises ManifestUnknown, saying what is to be expected."""
    images = {number: image_of(version) for number, version in agent.versions.items()}
    if ":" in reference:
        if any(image and image.manifest == reference for image in images.values()):
            return reference
        raise ManifestUnknown(f"No version of {agent.name} is the image {reference[:100]}.")
    image = images.get(tagged(agent.versions).get(reference, 0))
    if image is None:
        raise ManifestUnknown(_why(agent, reference))
    return image.manifest


def _why(agent: Active, tag: str) -> str:
    number = max(
        (each for each, version in agent.versions.items() if tag in tags_of(each, version)),
        default=agent.latest if tag == "latest" else 0,
    )
    if not number:
        return f"No version of {agent.name} has the tag {tag[:100]!r}."
    version = agent.versions[number]
    match version.status:
        case "draft":
            return f"Version {number} of {agent.name} is not built yet; try again later."
        case "failed":
            return f"Version {number} of {agent.name} could not be built: {version.detail}"
        case "ready":
            return f"Version {number} of {agent.name} runs without a build, and has no image."
