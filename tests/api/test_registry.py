"""The pull half of the OCI distribution API: who may pull what, and in what words it is refused."""

import base64
import json
from typing import Any

import httpx
import pytest

from domain.agents import AgentVersionFailed, AgentVersionReady
from domain.execution import Artifact, Image, digest_of
from domain.images import CONFIG_TYPE, MANIFEST_TYPE
from tests.api.conftest import KEY, Api

LAYER = bytes(range(256)) * 20_000  # five of the store's pieces
CONFIG = b'{"os":"linux"}'
SOURCE = {"files": {"agent.py": "print('hello')\n"}, "requirements": "httpx\n"}
ECHO = "/v2/default/echo"


async def deployed(api: Api, name: str = "echo", code: str = "1") -> dict[str, Any]:
    """An agent that needs a build, as its deploy is answered."""
    source = {**SOURCE, "files": {"agent.py": f"print({code})\n"}}
    return await api.deploy(name, source=source)


async def built(api: Api, made: dict[str, Any], layer: bytes = LAYER) -> Image:
    """The version's image, as its builder would have stored it."""
    blobs = api.services.blobs
    layer_digest, config_digest = await blobs.put(layer), await blobs.put(CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": config_digest, "size": len(CONFIG)},
        "layers": [{"mediaType": "x", "digest": layer_digest, "size": len(layer)}],
    }
    manifest = await blobs.put(json.dumps(document).encode())
    image = Image(manifest=manifest, config=config_digest, layers=[layer_digest])
    await ready(api, made, image)
    return image


async def ready(api: Api, made: dict[str, Any], image: Image | None) -> None:
    artifact = Artifact(base="python", source=digest_of(b""), image=image)
    event = AgentVersionReady(agent_id=made["agent_id"], version=made["version"], artifact=artifact)
    await api.append(f"agent-{made['agent_id']}", event)


async def pull(api: Api, path: str, *, key: str | None = KEY, **more: Any) -> httpx.Response:
    """Ask as a container engine does: with a name and the key as its password."""
    headers = dict(more.pop("headers", {}))
    if key is not None:
        words = base64.b64encode(f"anybody:{key}".encode()).decode()
        headers["Authorization"] = f"Basic {words}"
    return await api.ask(more.pop("method", "GET"), path, key=None, headers=headers, **more)


def refused(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    (error,) = answer.json()["errors"]
    assert error["code"] == code
    return error["message"]


async def test_who_does_not_log_in_is_asked_to(api: Api) -> None:
    for headers in ({}, {"Authorization": "Basic nonsense"}, {"Authorization": "Basic YTpi"}):
        answer = await pull(api, "/v2/", key=None, headers=headers)

        refused(answer, 401, "UNAUTHORIZED")
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="Argosy"'

    assert (await pull(api, "/v2/")).status_code == 200
    assert (await api.ask("GET", "/v2/")).status_code == 200  # a Bearer's key is one, too


async def test_an_image_is_pulled_by_each_of_its_names(api: Api) -> None:
    made = await deployed(api)
    image = await built(api, made)
    host, _, path = made["image_uri"].partition("/")
    repository, _, tag = path.partition(":")

    assert host == "127.0.0.1:8700"
    assert repository == "default/echo"
    for reference in (tag, "v1", "latest", image.manifest):
        answer = await pull(api, f"{ECHO}/manifests/{reference}")
        assert answer.status_code == 200
        assert digest_of(answer.content) == image.manifest
        assert answer.headers["Content-Type"] == MANIFEST_TYPE
        assert answer.headers["Docker-Content-Digest"] == image.manifest
    layer = await pull(api, f"{ECHO}/blobs/{image.layers[0]}")
    assert layer.content == LAYER
    assert (await pull(api, f"{ECHO}/blobs/{image.config}")).content == CONFIG


@pytest.mark.parametrize("what", ["manifests", "blobs"])
async def test_a_head_tells_the_same_without_the_bytes(api: Api, what: str) -> None:
    image = await built(api, await deployed(api))
    reference = {"manifests": image.manifest, "blobs": image.layers[0]}[what]

    head = await pull(api, f"{ECHO}/{what}/{reference}", method="HEAD")
    got = await pull(api, f"{ECHO}/{what}/{reference}")

    assert head.status_code == 200
    assert head.content == b""
    for name in ("Content-Length", "Content-Type", "Docker-Content-Digest", "ETag"):
        assert head.headers[name] == got.headers[name]
    assert int(head.headers["Content-Length"]) == len(got.content)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=5000000-", 5_000_000, len(LAYER)),
        ("bytes=-10", len(LAYER) - 10, len(LAYER)),
        ("bytes=1000000-99999999", 1_000_000, len(LAYER)),
    ],
)
async def test_a_pull_that_broke_off_goes_on(api: Api, asked: str, start: int, stop: int) -> None:
    image = await built(api, await deployed(api))

    answer = await pull(api, f"{ECHO}/blobs/{image.layers[0]}", headers={"Range": asked})

    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(LAYER)}"
    assert answer.content == LAYER[start:stop]


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-1,5-6"},
        {"Range": "bytes=9-3"},
        {"Range": "bytes=-"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=0-9", "If-Range": '"another"'},
    ],
)
async def test_a_part_that_is_none_means_all(api: Api, headers: dict[str, str]) -> None:
    image = await built(api, await deployed(api))

    answer = await pull(api, f"{ECHO}/blobs/{image.layers[0]}", headers=headers)

    assert answer.status_code == 200
    assert answer.content == LAYER


async def test_a_part_behind_the_end_is_refused(api: Api) -> None:
    image = await built(api, await deployed(api))
    headers = {"Range": f"bytes={len(LAYER)}-"}

    answer = await pull(api, f"{ECHO}/blobs/{image.layers[0]}", headers=headers)

    refused(answer, 416, "UNSUPPORTED")
    assert answer.headers["Content-Range"] == f"bytes */{len(LAYER)}"


async def test_what_is_not_there_is_refused_with_the_reason(api: Api) -> None:
    made = await deployed(api)
    tag = made["image_uri"].rpartition(":")[2]

    for reference in (tag, "v1", "latest"):
        said = refused(await pull(api, f"{ECHO}/manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
        assert "not built yet" in said
    refused(await pull(api, f"{ECHO}/manifests/v2"), 404, "MANIFEST_UNKNOWN")
    refused(await pull(api, f"{ECHO}/manifests/{digest_of(b'')}"), 404, "MANIFEST_UNKNOWN")
    refused(await pull(api, f"{ECHO}/blobs/{digest_of(b'')}"), 404, "BLOB_UNKNOWN")
    refused(await pull(api, "/v2/default/other/manifests/v1"), 404, "NAME_UNKNOWN")
    refused(await pull(api, "/v2/other/echo/manifests/v1"), 404, "NAME_UNKNOWN")
    refused(await pull(api, "/v2/a/b/c/manifests/v1"), 404, "NAME_UNKNOWN")

    failed = AgentVersionFailed(agent_id=made["agent_id"], version=1, detail="no such package")
    await api.append(f"agent-{made['agent_id']}", failed)
    said = refused(await pull(api, f"{ECHO}/manifests/v1"), 404, "MANIFEST_UNKNOWN")
    assert "no such package" in said


async def test_what_runs_without_a_build_names_no_image(api: Api) -> None:
    made = await api.deploy()

    shown = await api.ask("GET", "/v1/workspaces/default/agents/echo")
    said = refused(await pull(api, f"{ECHO}/manifests/v1"), 404, "MANIFEST_UNKNOWN")

    assert made["image_uri"] is None
    assert shown.json()["versions"][0]["image_uri"] is None
    assert "without a build" in said


async def test_a_version_from_before_there_were_images_names_none(api: Api) -> None:
    await ready(api, await deployed(api), None)

    again = await deployed(api)

    assert again["version"] == 1
    assert again["image_uri"] is None


async def test_the_same_definition_has_the_same_uri(api: Api) -> None:
    first = await deployed(api)
    await built(api, first)
    other = await deployed(api, code="2")

    back = await deployed(api)
    shown = (await api.ask("GET", f"/v1/agents/{first['agent_id']}")).json()["versions"]

    assert first["image_uri"] == back["image_uri"] != other["image_uri"]
    assert [each["image_uri"] for each in shown][:2] == [first["image_uri"], other["image_uri"]]


async def test_a_tag_names_the_newest_version_that_can_be_pulled(api: Api) -> None:
    one = await built(api, await deployed(api))
    second = await deployed(api, code="2")
    before = await pull(api, f"{ECHO}/manifests/latest")

    two = await built(api, second, layer=b"other")
    after = await pull(api, f"{ECHO}/manifests/latest")

    assert before.headers["Docker-Content-Digest"] == one.manifest
    assert after.headers["Docker-Content-Digest"] == two.manifest
    assert digest_of((await pull(api, f"{ECHO}/manifests/v1")).content) == one.manifest


async def test_tags_are_listed_in_pages(api: Api) -> None:
    made = [await deployed(api, code=str(number)) for number in range(3)]
    for each in made[:2]:
        await built(api, each)
    path, pages = f"{ECHO}/tags/list?n=2", list[list[str]]()

    whole = (await pull(api, f"{ECHO}/tags/list")).json()
    while path:
        page = await pull(api, path)
        pages.append(page.json()["tags"])
        path = page.headers.get("Link", "").partition(">")[0].removeprefix("<")

    own = [each["image_uri"].rpartition(":")[2] for each in made[:2]]
    assert whole == {"name": "default/echo", "tags": sorted(["latest", "v1", "v2", *own])}
    assert [tag for page in pages for tag in page] == whole["tags"]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert (await pull(api, f"{ECHO}/tags/list?n=0")).json()["tags"] == []
    refused(await pull(api, f"{ECHO}/tags/list?n=-1"), 400, "UNSUPPORTED")


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
async def test_nothing_can_be_pushed(api: Api, method: str) -> None:
    image = await built(api, await deployed(api))

    for path in (f"{ECHO}/manifests/v1", f"{ECHO}/blobs/{image.config}", f"{ECHO}/blobs/uploads/"):
        refused(await pull(api, path, method=method), 405, "UNSUPPORTED")


async def test_a_viewer_may_pull_and_strangers_see_nothing(api: Api) -> None:
    image = await built(api, await deployed(api))
    body = {"slug": "theirs", "name": "theirs"}
    assert (await api.ask("POST", "/v1/workspaces", json=body)).status_code == 201
    viewer, stranger = await api.make_key("viewer"), await api.make_key("admin", "theirs")

    for path in (f"{ECHO}/manifests/v1", f"{ECHO}/blobs/{image.layers[0]}", f"{ECHO}/tags/list"):
        assert (await pull(api, path, key=viewer)).status_code == 200
        refused(await pull(api, path, key=stranger), 404, "NAME_UNKNOWN")
        refused(await pull(api, path, key="argosy_wrong"), 401, "UNAUTHORIZED")


async def test_a_blob_is_served_through_its_own_repository_alone(api: Api) -> None:
    image = await built(api, await deployed(api))
    other = await built(api, await deployed(api, "other", code="2"), layer=b"other")

    refused(await pull(api, f"{ECHO}/blobs/{other.layers[0]}"), 404, "BLOB_UNKNOWN")
    refused(
        await pull(api, f"/v2/default/other/manifests/{image.manifest}"), 404, "MANIFEST_UNKNOWN"
    )


async def test_a_blob_that_is_lost_is_said_to_be(api: Api) -> None:
    image = await built(api, await deployed(api))
    await api.services.blobs.set_aside([image.layers[0], image.manifest])
    await api.services.blobs.remove([image.layers[0], image.manifest])

    for method in ("GET", "HEAD"):
        answer = await pull(api, f"{ECHO}/blobs/{image.layers[0]}", method=method)
        assert answer.status_code == 404
    assert "lost" in refused(await pull(api, f"{ECHO}/manifests/v1"), 404, "MANIFEST_UNKNOWN")


async def test_a_deleted_agent_cannot_be_pulled(api: Api) -> None:
    made = await deployed(api)
    image = await built(api, made)
    await api.ask("DELETE", f"/v1/agents/{made['agent_id']}")

    refused(await pull(api, f"{ECHO}/blobs/{image.layers[0]}"), 404, "NAME_UNKNOWN")
    shown = (await api.ask("GET", f"/v1/agents/{made['agent_id']}")).json()
    assert shown["versions"][0]["image_uri"] is None


async def test_runagents_deploys_name_the_image_before_it_is_built(api: Api) -> None:
    files = {"agent.py": "def handler(request):\n    return 'hi'\n"}
    body = {"agent_name": "echo", "source_files": files, "requirements": "httpx\n"}

    made = (await api.ask("POST", "/api/deploy", json=body)).json()
    again = (await api.ask("POST", "/api/deploy", json=body)).json()
    shown = (await api.ask("GET", "/api/agents/default/echo")).json()
    plain = await api.ask(
        "POST", "/api/deploy", json={**body, "requirements": "", "agent_name": "a"}
    )

    assert made["image_uri"].startswith("127.0.0.1:8700/default/echo:")
    assert again["image_uri"] == made["image_uri"] == shown["spec"]["image"]
    assert "image_uri" not in plain.json()
