"""Workflow artifacts: sources that are stored to be deployed later (contract §8).

The same files are the same artifact, whoever stores them in a workspace, and never change.
"""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Meta, Struct

from api.bodies import decode
from api.calls import Call
from api.dialects.runagents.bodies import without_nulls
from api.dialects.runagents.documents import answer, declare
from api.dialects.runagents.namespaces import open_place_of, place_of
from api.documents import Shown, every, find_by_id
from api.folding import missing
from api.tenancy import Place
from domain.catalog import SourceSnapshot
from domain.documents import SNAPSHOTS
from domain.errors import Malformed, NotFound, Unavailable
from domain.execution import source_digest
from domain.sources import check_files

NAME_DIGITS = 40  # of the files' digest, for the document's name


class ArtifactBody(Struct, frozen=True, kw_only=True):
    """POST /api/workflow-artifacts, as the command line sends it."""

    source_files: Annotated[dict[str, str], Meta(examples=[{"agent.py": "print('hello')\n"}])] = {}
    source_type: Literal["code"] = "code"
    build_mode: Literal["native"] = "native"


_body = msgspec.json.Decoder(ArtifactBody)


# Any: as in agents.py.
@post("/workflow-artifacts", status_code=201, opt={"needs": "write"})
async def store_artifact(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[Any]:
    """Store source files; the same ones again are the same artifact. 201 either way."""
    body = decode(_body, without_nulls(await request.body()))
    if not body.source_files:
        raise Malformed("source_files is required", field="source_files")
    files = check_files(body.source_files, field="source_files")
    place = await open_place_of(call, request)
    paths = sorted(files)
    digests = await call.services.blobs.put_all([files[path].encode() for path in paths])
    snapshot = SourceSnapshot(files=dict(zip(paths, digests, strict=True)))
    digest = source_digest(snapshot.files).removeprefix("sha256:")
    name = f"source-{digest[:NAME_DIGITS]}"
    made = await declare(call, place, SNAPSHOTS, name, lambda _current, _secret: snapshot)
    return answer(_shown(made.facts), made)


@get("/workflow-artifacts", opt={"needs": "read"})
async def list_artifacts(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> list[dict[str, Any]]:
    """List all artifacts of the workspace, as a bare array."""
    place = await place_of(call, request)
    return [_shown(each) async for each in every(call, place, SNAPSHOTS)]


@get("/workflow-artifacts/{artifact_id:str}", opt={"needs": "read"})
async def show_artifact(
    artifact_id: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> dict[str, Any]:
    """Show one artifact: its files' names, not what is in them."""
    return _shown(await _find(call, await place_of(call, request), artifact_id))


async def files_of(call: Call, place: Place, artifact_id: str) -> dict[str, str]:
    """Return the texts of an artifact's files by path. Raises Malformed if there is none."""
    try:
        files = (await _find(call, place, artifact_id)).spec.files
    except NotFound:
        raise Malformed(
            f"workflow artifact {artifact_id[:100]!r} was not found", field="artifact_id"
        ) from None
    try:
        contents = await call.services.blobs.get_all(list(files.values()))
    except NotFound as lost:
        raise Unavailable(f"The artifact's files are lost: {lost.detail}") from None
    return {path: data.decode() for path, data in zip(files, contents, strict=True)}


async def _find(call: Call, place: Place, artifact_id: str) -> Shown[SourceSnapshot]:
    found = await find_by_id(call, SNAPSHOTS, artifact_id, artifact_id)
    if found.workspace_id != place.id:
        raise missing(SNAPSHOTS.noun, artifact_id)
    return found


def _shown(found: Shown[SourceSnapshot]) -> dict[str, Any]:
    return {
        "id": found.id,
        "source_type": "code",
        "build_mode": "native",
        "files": sorted(found.spec.files),
        "digest": source_digest(found.spec.files),
        "created_at": found.created_at,
    }
