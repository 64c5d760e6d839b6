"""The registry asked anything: the specification's errors, no crash, and no byte to a stranger."""

import random
from base64 import b64encode
from urllib.parse import quote, unquote

import pytest

from domain.images import CONFIG_TYPE, MANIFEST_TYPE
from tests.api.conftest import KEY, Api
from tests.api.test_registry import built, deployed
from tests.fuzzing.effort import examples, seed

OURS, OTHER = b"layer of echo " * 100, b"layer of other " * 100
METHODS = ("GET",) * 6 + ("HEAD",) * 3 + ("PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "X")
RANGES = (
    *("bytes=0-0", "bytes=5-", "bytes=-5", "bytes=-0", "bytes=99999-", "bytes=9-3", "bytes=-"),
    *("bytes=0-1,4-5", f"bytes={'9' * 19}-", f"bytes=0-{'9' * 30}", "bytes=a-b", "lines=1-2", "²"),
)
ACCEPTS = (
    *("*/*", MANIFEST_TYPE, "text/html", "application/json;q=0", ", ,;;", "x" * 5000),
    f"{CONFIG_TYPE}, application/vnd.docker.distribution.manifest.list.v2+json",
)
ODD = ("", "%", "%2e%2e", "%00", "\u00fc", "x" * 5000, "sha256:", "sha512:" + "0" * 128)


@pytest.mark.timeout(0)
async def test_whatever_is_asked_of_the_registry(api: Api) -> None:
    image = await built(api, await deployed(api), OURS)
    other = await built(api, await deployed(api, "other", code="2"), OTHER)
    body = {"slug": "theirs", "name": "theirs"}
    assert (await api.ask("POST", "/v1/workspaces", json=body)).status_code == 201
    stranger = await api.make_key("admin", "theirs")
    digests = [each for found in (image, other) for each in (found.manifest, *found.layers)]
    words = [
        *("default", "theirs", "echo", "other", "blobs", "manifests", "tags", "list"),
        *digests,
    ]
    words += [
        *ODD,
        "v1",
        "latest",
        "uploads",
        "_catalog",
        f"sha256:{'0' * 64}",
        "SHA256:" + "A" * 64,
    ]
    logins = [KEY, KEY, KEY, KEY, stranger, stranger, "argosy_wrong", "", None]
    chance, answered = random.Random(seed()), set[int]()

    for _ in range(examples(1500)):
        path, key = _path(chance, words, digests), chance.choice(logins)
        method = chance.choice(METHODS)
        headers = _headers(chance, key)
        asked = f"{method} {path[:300]} {headers} as {key}"

        answer = await api.ask(method, path, key=None, headers=headers)

        answered.add(answer.status_code)
        assert answer.status_code < 500, asked
        told = answer.is_success and method != "OPTIONS" and path.partition("?")[0] != "/v2/"
        assert key == KEY or not told, asked
        if key != KEY:
            assert OURS[:14] not in answer.content, asked
        if key != KEY or "other" not in unquote(path):
            assert OTHER[:15] not in answer.content, asked
        if method == "HEAD":
            assert answer.content == b"", asked
        elif answer.is_error:
            assert "errors" in answer.json(), f"{asked}: {answer.status_code} {answer.text}"
            (error,) = answer.json()["errors"]
            assert error["code"].isupper(), asked
            assert error["message"], asked
    assert {200, 206, 401, 404, 405, 416} <= answered


def _path(chance: random.Random, words: list[str], digests: list[str]) -> str:
    """A path below `/v2/`: half of them right but for one part, if at all."""
    what = chance.choice(["blobs", "manifests"])
    parts = ["default", chance.choice(["echo", "other"]), what, chance.choice(digests)]
    if chance.random() < 0.2:
        parts[2:] = ["tags", "list"]
    if chance.random() < 0.5:
        parts[chance.randrange(4)] = chance.choice(words)
    if chance.random() < 0.2:
        parts = chance.choices(words, k=chance.randint(0, 7))
    if chance.random() < 0.2:  # as much of it encoded as can be
        parts = ["".join(f"%{byte:02X}" for byte in part.encode()) for part in parts]
    slash = "%2F" if chance.random() < 0.05 else "/"
    path = "/v2/" + slash.join(quote(part, safe="%:") for part in parts)
    query = chance.choice(["", "", "", "?n=1", "?n=-1", "?n=x", "?last=%FF", f"?last={'x' * 300}"])
    return path + query


def _headers(chance: random.Random, key: str | None) -> dict[bytes, bytes]:
    headers: dict[str, str] = {}
    if chance.random() < 0.4:
        headers["Range"] = chance.choice(RANGES)
    if chance.random() < 0.4:
        headers["Accept"] = chance.choice(ACCEPTS)
    if chance.random() < 0.1:
        headers["If-Range"] = chance.choice(['"x"', "", "Thu, 01 Jan 1970 00:00:00 GMT"])
    if key is not None:
        basic = f"Basic {b64encode(f'anybody:{key}'.encode()).decode()}"
        good = [basic, basic, f"Bearer {key}"]
        bad = ["Basic", "Basic =", "Basic //8=", "Bearer", "Digest x", "Basic " + "A" * 9000]
        headers["Authorization"] = chance.choice(good if key else bad)
    return {name.encode(): value.encode() for name, value in headers.items()}
