"""Whole runs in containers of an engine: a source agent and images, by real processes."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from adapters.settings import Settings
from domain.builds import BuildEnded
from tests.containers.serving import engine_url
from tests.redis_server import RedisServer
from tests.registries import Registry, busybox, layer, python, registry
from tests.workers.builds import open_directory
from tests.workers.packages import make_wheel
from tests.workers.worlds import ROOT, World, make_settings, open_world, processes

HELLO = """
import small

def handler(request):
    return {"response": f"hello {request['message']}, small {small.VERSION}"}
"""
# With a server's libraries only, and neither /etc nor /var.
ANSWERS = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps({"response": self.path + " " + asked["message"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
HTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def images() -> Iterator[Registry]:
    with registry() as opened:
        yield opened


@pytest.fixture
def in_containers(redis_server: RedisServer, images: Registry) -> Iterator[Settings]:
    with (
        open_directory() as index,
        make_settings(
            redis_server.url,
            sandbox_driver="container",
            engine=engine_url(),
            outbound_allow=images.host,
            insecure_registries=images.host,
            package_index=str(index),
            warm_sandboxes=1,
        ) as made,
    ):
        make_wheel(index, "small", "1.5")
        yield made


@pytest.fixture
async def installed(in_containers: Settings) -> AsyncIterator[World]:
    """An installation whose processes have all they do done in containers."""
    async with (
        open_world(in_containers) as world,
        processes(in_containers, "dispatch", "host", "build"),
    ):
        yield world


async def test_a_source_agent_is_built_and_answers_in_containers(installed: World) -> None:
    deployed = await installed.deploy({"agent.py": HELLO}, requirements="small\n")
    (end,) = await installed.until_all(f"build-{deployed.build_id}", BuildEnded, 1)
    assert (end.how, end.detail) == ("succeeded", "")

    ended = await installed.ended(await installed.request("world"))

    assert (ended.how, ended.detail, ended.output) == ("completed", "", "hello world, small 1.5")


async def test_images_answer_from_containers(installed: World, images: Registry) -> None:
    server = images.push(
        "server:1",
        [layer(python()), layer({"srv/server.py": ANSWERS})],
        Cmd=["/bin/python", "/srv/server.py"],
        ExposedPorts={"8080/tcp": {}},
    )
    files = {"etc/motd": "good day\n", "var/lib/note": "kept\n"}
    command = images.push(
        "command:1",
        [layer(busybox()), layer(files)],
        Entrypoint=["sh", "-c", "cat /etc/motd /var/lib/note; cat"],
    )
    for name, image in (("server", server), ("command", command)):
        deployed = await installed.deploy(image=image, name=name)
        (end,) = await installed.until_all(f"build-{deployed.build_id}", BuildEnded, 1)
        assert (end.how, end.detail) == ("succeeded", "")

    asked = await installed.ended(await installed.request("one", name="server"))
    told = await installed.ended(await installed.request("two", name="command"))

    assert (asked.how, asked.detail, asked.output) == ("completed", "", "/invoke one")
    assert (told.how, told.detail, told.output) == ("completed", "", "good day\nkept\ntwo")


@pytest.mark.parametrize(
    ("engine", "words"),
    [("", "set ARGOSY_ENGINE"), ("unix:///no/such.sock", "does not answer"), ("tcp://x", "socket")],
)
def test_a_host_without_its_engine_does_not_start(
    in_containers: Settings, engine: str, words: str
) -> None:
    given = {
        "ARGOSY_DATA": str(in_containers.data),
        "ARGOSY_SANDBOX_DRIVER": "container",
        "ARGOSY_ENGINE": engine,
    }
    done = subprocess.run(
        [sys.executable, "-m", "workers", "check"],
        cwd=ROOT,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert words in done.stderr
