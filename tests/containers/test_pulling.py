"""Agents as images, all the way: deployed, built, pulled by real engines, run, and asked."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct

from tests.conftest import require
from tests.containers.docker import docker
from tests.containers.engine import Engine, as_flags, need_podman
from tests.e2e.servers import KEY, DevServer, dev_server
from tests.workers.builds import open_directory
from tests.workers.packages import make_wheel

PULL = ("pull", "--quiet", "--tls-verify=false", "--creds", f"anybody:{KEY}")
FILES = {
    "requirements.txt": "small\n",
    "agent.py": (
        "import os\nimport small\nfrom words import GREETING\n\n"
        "def handler(request):\n"
        "    print('thinking')\n"
        "    open('note.txt', 'w').write('written')\n"
        "    message, uid = request['message'], os.getuid()\n"
        "    text = f'{GREETING} {message}, small {small.VERSION}, uid {uid}'\n"
        "    return {'response': text, 'turns': len(request['history'])}\n"
    ),
    "words.py": "GREETING = 'hello'\n",
    "script.py": "import sys, small\nprint('script', sys.argv[1], small.VERSION)\n",
    "broken.py": "def handler(request):\n    raise ValueError('it is broken')\n",
    "offline.py": (
        "from urllib.request import urlopen\n\ndef handler(request):\n"
        "    urlopen('http://127.0.0.1:9/')\n"
    ),
}
# Asks the agent of its own container, whose network nobody else can reach.
ASK = """
import json, sys, urllib.error, urllib.request
path, body = sys.argv[1], sys.argv[2].encode() or None
request = urllib.request.Request(f"http://127.0.0.1:8080{path}", data=body)
try:
    answer = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""


class Pulled(Struct, frozen=True):
    """An agent whose image is in the engine's store."""

    engine: Engine
    uri: str
    digest: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    need_podman()
    folder = tmp_path_factory.mktemp("pulling")
    with open_directory() as index:
        make_wheel(index, "small", "1.5")
        environment = {"ARGOSY_PACKAGE_INDEX": str(index)}
        with dev_server(folder / "data", environment=environment) as started:
            yield started


@pytest.fixture(scope="module")
def pulled(server: DevServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulled]:
    uri = deployed(server, "echo", FILES)
    with an_engine(tmp_path_factory.mktemp("engine")) as engine:
        engine.run(*PULL, uri)
        (image,) = json.loads(engine.run("image", "inspect", uri))
        yield Pulled(engine, uri, image["Digest"])


@contextmanager
def an_engine(root: Path) -> Generator[Engine]:
    engine = Engine(root)
    try:
        yield engine
    finally:
        engine.run("rm", "--all", "--force")
        engine.run("rmi", "--all", "--force")


def deployed(server: DevServer, name: str, files: dict[str, str]) -> str:
    """Deploy a folder and wait until it is built; returns its image's name."""
    folder = server.data.parent / name
    folder.mkdir()
    for path, text in files.items():
        (folder / path).write_text(text)
    made = server.argosy("deploy", str(folder), "--json", timeout=300).json
    assert made["build_id"], made
    assert made["image_uri"].startswith(server.url.removeprefix("http://") + f"/default/{name}:")
    return made["image_uri"]


@contextmanager
def running(pulled: Pulled, *options: str) -> Generator[str]:
    """Run the image without a network; yields the container's name once it serves."""
    name = f"agent-{len(options)}-{abs(hash(options))}"
    command = pulled.engine.command(
        ["run", "--rm", "--network=none", "--name", name, *options, pulled.uri]
    )
    environment = pulled.engine.environment
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        said = ""
        while '"serving"' not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        try:
            yield name
        finally:
            pulled.engine.run("stop", "--time", "20", name)
    assert process.returncode == 0, "it did not stop when it was told to"


def ask(pulled: Pulled, container: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Ask the agent over HTTP; returns the status and the answer."""
    text = json.dumps(body) if body is not None else ""
    python = next(word for word in entrypoint(pulled) if "python" in word)
    status, answer = json.loads(
        pulled.engine.run("exec", container, python, "-I", "-c", ASK, path, text)
    )
    return status, json.loads(answer) if answer.startswith("{") else answer


def entrypoint(pulled: Pulled) -> Sequence[str]:
    (image,) = json.loads(pulled.engine.run("image", "inspect", pulled.uri))
    return image["Config"]["Entrypoint"]


def test_the_agent_answers_from_its_own_image(pulled: Pulled) -> None:
    with running(pulled) as container:
        health = ask(pulled, container, "/healthz")
        status, answer = ask(pulled, container, "/invoke", {"message": "you", "history": [1, 2]})
        again = ask(pulled, container, "/invoke", {"message": "again"})
        events = ask(pulled, container, "/invoke/stream", {"message": "you"})

    assert health == (
        200,
        {"status": "ok", "agent": "echo", "model": "", "tools": 0, "user_code": True},
    )
    assert status == 200
    assert answer["response"] == "hello you, small 1.5, uid 1000"
    assert answer["turns"] == 2
    assert answer["handler"] == "user"
    assert again[1]["response"].startswith("hello again")
    assert '"delta": "hello you, small 1.5, uid 1000"' in events[1]
    assert events[1].endswith("data: [DONE]\n\n")


def test_it_runs_with_nothing_it_may_write_to_but_tmp(pulled: Pulled) -> None:
    with running(pulled, "--read-only", "--cap-drop=all") as container:
        status, answer = ask(pulled, container, "/invoke", {"message": "you"})

    assert (status, answer["response"]) == (200, "hello you, small 1.5, uid 1000")


@pytest.mark.parametrize(
    ("entry_point", "status", "field", "words"),
    [
        ("script.py", 200, "response", "script you 1.5"),
        ("broken.py", 500, "error", "ValueError: it is broken (broken.py, line 2)"),
        ("offline.py", 502, "error", "URLError"),
        ("missing.py", 500, "error", "missing.py"),
    ],
)
def test_other_entry_points_end_as_their_runs_would(
    pulled: Pulled, entry_point: str, status: int, field: str, words: str
) -> None:
    with running(pulled, *as_flags("--env", {"USER_ENTRY_POINT": entry_point})) as container:
        got, answer = ask(pulled, container, "/invoke", {"message": "you"})

    assert got == status, answer
    assert words in answer[field]


def test_what_cannot_be_asked_is_refused(pulled: Pulled) -> None:
    with running(pulled) as container:
        for body in ({}, {"message": ""}, {"message": "x", "history": "y"}):
            assert ask(pulled, container, "/invoke", body)[0] == 400
        assert ask(pulled, container, "/other")[0] == 404
        assert ask(pulled, container, "/resume/1", {"message": "x"})[0] == 404
        assert ask(pulled, container, "/invoke", {"message": "you"})[0] == 200


def test_two_engines_pull_at_once_by_digest(
    pulled: Pulled, tmp_path_factory: pytest.TempPathFactory
) -> None:
    repository = pulled.uri.rpartition(":")[0]
    by_digest = f"{repository}@{pulled.digest}"
    with (
        an_engine(tmp_path_factory.mktemp("one")) as one,
        an_engine(tmp_path_factory.mktemp("two")) as two,
    ):
        pulls = [
            subprocess.Popen(each.command([*PULL, by_digest]), env=each.environment)
            for each in (one, two)
        ]
        assert [pull.wait(300) for pull in pulls] == [0, 0]
        for each in (one, two):
            (image,) = json.loads(each.run("image", "inspect", by_digest))
            assert image["Digest"] == pulled.digest


def test_docker_pulls_by_tag_and_digest_and_runs_it(pulled: Pulled) -> None:
    host, repository = pulled.uri.split("/", 1)[0], pulled.uri.rpartition(":")[0]
    by_digest = f"{repository}@{pulled.digest}"
    with open_directory() as folder, docker(folder / "docker", host) as engine:
        refused = engine.try_("pull", "--quiet", by_digest)
        engine.run("login", "--username", "anybody", "--password-stdin", host, stdin=KEY)
        for name in (by_digest, pulled.uri):
            engine.run("pull", "--quiet", name)
        (image,) = json.loads(engine.run("image", "inspect", by_digest))
        health = ["run", "--rm", "--network=none", "--entrypoint", entrypoint(pulled)[0], by_digest]
        said = engine.run(*health, "-I", "-c", "import os; print(os.getuid(), os.listdir('/app'))")

    assert refused.returncode != 0
    assert "no basic auth credentials" in refused.stderr or "unauthorized" in refused.stderr
    assert by_digest in image["RepoDigests"]
    assert image["Config"]["User"] == "1000:1000"
    assert said.startswith("1000 ")
    assert "agent.py" in said


def test_skopeo_copies_and_inspects_it(pulled: Pulled, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        require("skopeo", "there is no skopeo")
    creds = f"anybody:{KEY}"
    source = f"docker://{pulled.uri}"
    copy = ["skopeo", "copy", "--src-tls-verify=false", "--src-creds", creds, "--quiet"]
    subprocess.run([*copy, source, f"oci:{tmp_path}/copy:latest"], check=True, timeout=300)
    inspect = ["skopeo", "inspect", "--tls-verify=false", "--creds", creds, source]
    seen = json.loads(subprocess.run(inspect, check=True, capture_output=True, timeout=60).stdout)

    assert seen["Digest"] == pulled.digest
    assert {"latest", "v1", pulled.uri.rpartition(":")[2]} <= set(seen["RepoTags"])
    assert (tmp_path / "copy/blobs/sha256" / pulled.digest.removeprefix("sha256:")).exists()


def test_a_client_that_breaks_off_goes_on_where_it_was(server: DevServer, pulled: Pulled) -> None:
    path = re.sub(r"^[^/]+(/.*):.*$", r"/v2\1", pulled.uri)
    with httpx.Client(base_url=server.url, auth=("anybody", KEY)) as client:
        manifest = client.get(f"{path}/manifests/latest").json()
        layer = max(manifest["layers"], key=lambda each: each["size"])
        url = f"{path}/blobs/{layer['digest']}"
        got = b""
        with client.stream("GET", url) as answer:
            for piece in answer.iter_bytes(1 << 16):
                got += piece
                if len(got) > 1 << 20:
                    break
        rest = client.get(url, headers={"Range": f"bytes={len(got)}-"})

    assert rest.status_code == 206
    assert f"sha256:{hashlib.sha256(got + rest.content).hexdigest()}" == layer["digest"]


def test_an_image_that_lost_a_layer_cannot_be_pulled_and_others_can(
    server: DevServer, pulled: Pulled, tmp_path: Path
) -> None:
    uri = deployed(server, "losing", {"agent.py": "print('lost')\n", "requirements.txt": "small\n"})
    path = re.sub(r"^[^/]+(/.*):.*$", r"/v2\1", uri)
    manifest = httpx.get(f"{server.url}{path}/manifests/v1", auth=("a", KEY)).json()
    hexdigest = manifest["layers"][-1]["digest"].removeprefix("sha256:")
    (server.data / "blobs/sha256" / hexdigest[:2] / hexdigest[2:]).unlink()

    with an_engine(tmp_path / "engine") as engine:
        failed = engine.try_(*PULL, uri)
        assert failed.returncode != 0
        assert hexdigest in failed.stderr
        assert "404" in failed.stderr
        assert not engine.has(uri)
        assert engine.try_(*PULL, pulled.uri).returncode == 0


def test_nothing_is_pulled_without_a_key(pulled: Pulled, tmp_path: Path) -> None:
    with an_engine(tmp_path / "engine") as engine:
        for flags in ((), ("--creds", "anybody:argosy_wrong")):
            failed = engine.try_("pull", "--quiet", "--tls-verify=false", *flags, pulled.uri)
            assert failed.returncode != 0
            assert "unauthorized" in failed.stderr.lower()
