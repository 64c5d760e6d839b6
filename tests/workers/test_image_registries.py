"""Registries that answer what they should not: a build fails in words, which can be stored."""

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest

from adapters.settings import Settings
from domain.builds import BuildEnded
from domain.execution import ImageDefinition
from domain.registry import encode
from tests.workers.builds import Builder, open_directory, the_driver
from workers.builder.failures import MAX_LINE
from workers.builder.indexes import find_index

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LONG = "x" * 1_000_000


@pytest.fixture
def directory() -> Iterator[Path]:
    with open_directory() as made:
        yield made


@contextmanager
def registry(status: int, headers: Mapping[str, str], body: bytes) -> Generator[str]:
    """One that answers everything with this; yields its host."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def build(
    directory: Path, status: int, headers: Mapping[str, str], body: bytes = b""
) -> BuildEnded:
    """Build from an image of such a registry, which the operator knows."""
    with registry(status, headers, body) as host:
        builder = Builder(directory, the_driver(), find_index("", {}))
        settings = Settings(outbound_allow=host, insecure_registries=host)
        builder.tools = msgspec.structs.replace(builder.tools, settings=settings)
        end = await builder.build_definition(ImageDefinition(image=f"{host}/agent:1"))
    assert all(len(entry.line) <= MAX_LINE for entry in builder.logged)
    return end


def refused(end: BuildEnded) -> None:
    assert (end.how, end.step) == ("failed", "resolve"), end
    assert end.hint
    assert len(encode(end)) < 2 * MAX_LINE


@pytest.mark.parametrize("url", ["http://[", "http://[x]/", "//a]b", "http://x:y/", "file:///etc"])
async def test_a_redirect_to_what_is_no_url(directory: Path, url: str) -> None:
    refused(await build(directory, 307, {"location": url}))


@pytest.mark.parametrize("url", ["http://[", "http://x:99999999/", "nowhere", ""])
async def test_tokens_from_what_is_no_url(directory: Path, url: str) -> None:
    refused(await build(directory, 401, {"www-authenticate": f'Bearer realm="{url}"'}))


def part(**fields: Any) -> dict[str, Any]:
    return {"digest": f"sha256:{sha256(b'').hexdigest()}", **fields}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (INDEX, {"manifests": [part(platform={"os": LONG, "architecture": LONG})] * 2}),
        (INDEX, {"manifests": [part(platform={"os": "\ud800"})]}),
        (MANIFEST, {"config": part(), "layers": [part(digest=LONG)]}),
        (MANIFEST, {"config": part(), "layers": [part()] * 1_000}),
        (LONG[:8_000], {}),
    ],
    ids=["long", "no text", "no digest", "many", "unknown"],
)
async def test_a_manifest_that_is_none(directory: Path, kind: str, body: dict[str, Any]) -> None:
    refused(await build(directory, 200, {"content-type": kind}, json.dumps(body).encode()))


async def test_a_manifest_with_a_number_beyond_all_measure(directory: Path) -> None:
    number = b"1" * 100_000
    body = b'{"config":{"digest":"x","size":%b},"layers":[]}' % number

    refused(await build(directory, 200, {"content-type": MANIFEST}, body))
