"""Container images from a registry to a run's answer, without a container engine."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from adapters.settings import Settings
from domain.builds import BuildEnded, BuildPlanned
from domain.catalog import Registry as RegistryDocument
from domain.documents import REGISTRIES
from domain.entries import ErrorReported, LogWritten
from domain.runs import RunEnded
from tests.registries import Content, Registry, busybox, layer, python, registry
from tests.workers.worlds import LIMITS, WORKSPACE, World, hosting, open_world, processes, workshop


@pytest.fixture(scope="module")
def images() -> Iterator[Registry]:
    """A registry that anybody may read."""
    with registry() as opened:
        yield opened


@pytest.fixture(scope="module")
def shell() -> bytes:
    """A layer with a shell and without any library."""
    return layer(busybox())


@pytest.fixture
def known(settings: Settings, images: Registry) -> Settings:
    """Settings of an operator who knows the registry."""
    return replace(settings, outbound_allow=images.host, insecure_registries=images.host)


async def built(world: World, settings: Settings, image: str) -> BuildEnded:
    """Deploy an image and return how its build ended."""
    deployed = await world.deploy(image=image)
    async with processes(settings, "build"):
        (end,) = await world.until_all(f"build-{deployed.build_id}", BuildEnded, 1)
    return end


def manifest(end: BuildEnded) -> str:
    """Return the digest that an image's build has found."""
    assert end.artifact is not None
    assert end.artifact.image is not None
    return end.artifact.image.manifest


async def answered(
    world: World, settings: Settings, image: str, message: str = "hello"
) -> RunEnded:
    """Deploy an image, run it and return how the run ended."""
    workshop(world.services)
    end = await built(world, settings, image)
    assert (end.how, end.detail) == ("succeeded", "")
    run = await world.request(message)
    async with hosting(world):
        return await world.ended(run)


async def test_a_command_gets_the_message_and_its_output_is_the_answer(
    world: World, known: Settings, images: Registry, shell: bytes
) -> None:
    image = images.push("cat:1", [shell], Entrypoint=["cat"])

    ended = await answered(world, known, image, "grüße\n")

    assert (ended.how, ended.output, ended.exit_code) == ("completed", "grüße", 0)


async def test_an_image_says_what_is_started_and_the_deployment_with_which_variables(
    world: World, known: Settings, images: Registry, shell: bytes
) -> None:
    files: dict[str, Content] = {"srv/agent.sh": "echo $(pwd) $COLOR $MOOD $1 $(id -u) $PORT\n"}
    image = images.push(
        "said:1",
        [shell, layer(files)],
        Env=["COLOR=blue", "MOOD=bad", "PATH=/bin"],
        Entrypoint=["sh", "agent.sh"],
        Cmd=["first"],
        WorkingDir="/srv",
        User="0:0",
    )
    workshop(world.services)
    deployed = await world.deploy(image=image, environment={"MOOD": "good"})
    async with hosting(world), processes(known, "build"):
        await world.until_all(f"build-{deployed.build_id}", BuildEnded, 1)
        ended = await world.ended(await world.request())

    assert (ended.detail, ended.output) == ("", "/srv blue good first 1000 8080")


async def test_an_image_is_read_only_but_for_two_directories_of_a_limited_size(
    world: World, known: Settings, images: Registry, shell: bytes
) -> None:
    script = """
    for place in /bin/x /etc/x /x /run/x /dev/x /tmp/x ./x; do
      touch $place 2>/dev/null && echo $place
    done
    """
    image = images.push("touch:1", [shell], Cmd=["sh", "-c", script])

    ended = await answered(world, known, image)

    assert ended.output.split() == ["/tmp/x", "./x"]
    assert [file.path for file in ended.files] == ["x"]


async def test_a_tag_is_resolved_once_and_what_it_meant_is_run(
    world: World, known: Settings, images: Registry, shell: bytes
) -> None:
    image = images.push("moving:1", [shell], Cmd=["echo", "first"])
    workshop(world.services)
    deployed = await world.deploy(image=image)
    async with hosting(world), processes(known, "build"):
        (first,) = await world.until_all(f"build-{deployed.build_id}", BuildEnded, 1)
        images.push("moving:1", [shell], Cmd=["echo", "second"])
        before = await world.ended(await world.request())
        again = await world.deploy(image=image)
        (second,) = await world.until_all(f"build-{again.build_id}", BuildEnded, 1)
        after = await world.ended(await world.request())
        (plan,) = await world.until_all(f"build-{deployed.build_id}", BuildPlanned, 1)

    assert (before.output, after.output) == ("first", "second")
    assert manifest(first) != manifest(second)
    assert plan.mode == "IMAGE"
    assert manifest(first) in plan.evidence


async def test_another_machine_needs_the_blob_store_and_no_registry(
    world: World, known: Settings, images: Registry, shell: bytes, tmp_path: Path
) -> None:
    workshop(world.services)
    image = images.push("kept:1", [shell], Cmd=["echo", "kept"])
    end = await built(world, known, image)
    images.stop()
    try:
        tmp_path.parent.chmod(0o755)
        elsewhere = replace(known, blobs=str(known.blob_directory), database=known.log_url)
        assert manifest(end)
        cache = known.data / "cache"
        cache.rename(known.data / "gone")  # as on a machine that has never seen the image
        async with open_world(elsewhere) as other, hosting(other):
            ended = await other.ended(await other.request())
    finally:
        images.start()

    assert ended.output == "kept"


async def test_what_a_program_says_of_its_trouble_is_logged_and_its_status_told(
    world: World, known: Settings, images: Registry, shell: bytes
) -> None:
    image = images.push("bad:1", [shell], Cmd=["sh", "-c", "echo no such luck >&2; exit 3"])

    ended = await answered(world, known, image)

    assert (ended.how, ended.reason, ended.exit_code) == ("failed", "exit_nonzero", 3)
    assert "no such luck" in ended.detail


async def test_a_program_that_is_not_there_is_named(
    world: World, known: Settings, images: Registry, shell: bytes
) -> None:
    image = images.push("absent:1", [shell], Cmd=["serve-me"])

    ended = await answered(world, known, image)

    assert (ended.how, ended.reason) == ("failed", "harness_error")
    assert "'serve-me'" in ended.detail


SERVER = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, answer = reply(self.path, asked, self.headers)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer.encode())

print("listening", flush=True)
HTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""

EXPOSED: dict[str, dict[str, str]] = {"8080/tcp": {}}


@pytest.fixture(scope="module")
def interpreter() -> bytes:
    """A layer with a Python."""
    return layer(python())


def serving(reply: str) -> bytes:
    """Return a layer with a server that answers with what `reply` returns."""
    code = f"def reply(path, asked, headers):\n    return {reply}\n{SERVER}"
    return layer({"srv/server.py": code})


async def test_a_server_is_waited_for_and_asked_once(
    world: World, known: Settings, images: Registry, interpreter: bytes
) -> None:
    reply = 'json.dumps({"response": path + " " + asked["message"], "sources": 2})'
    image = images.push(
        "server:1",
        [
            interpreter,
            serving(f'(200 if headers["x-run-id"] == asked["run_id"] else 400, {reply})'),
        ],
        Cmd=["/bin/python", "/srv/server.py"],
        ExposedPorts=EXPOSED,
    )

    ended = await answered(world, known, image)

    assert (ended.how, ended.detail) == ("completed", "")
    assert (ended.output, ended.extra) == ("/invoke hello", {"sources": 2})
    history = await world.history(ended.run_id)
    logged = [each.event.line for each in history if isinstance(each.event, LogWritten)]
    assert "listening" in logged
    assert not [each for each in history if isinstance(each.event, ErrorReported)]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ('(500, "no key")', "with status 500, not 200: no key"),
        ('(404, "")', "with status 404"),
        ('(200, "<html>")', "no JSON object: <html>"),
        ('(200, "[1]")', "no JSON object"),
        ('(200, "{}")', 'without a text "response"'),
        ('(200, "x" * 5_000_000)', "more than 4 MiB"),
        ("__import__('os')._exit(7)", "answer"),
    ],
)
async def test_a_server_that_does_not_answer_as_it_should_fails_its_run(
    world: World, known: Settings, images: Registry, interpreter: bytes, reply: str, words: str
) -> None:
    image = images.push(
        f"nonsense:{abs(hash(reply))}",
        [interpreter, serving(reply)],
        Cmd=["/bin/python", "/srv/server.py"],
        ExposedPorts=EXPOSED,
    )

    ended = await answered(world, known, image)

    assert (ended.how, ended.reason) == ("failed", "harness_error")
    assert "POST /invoke" in ended.detail
    assert words in ended.detail


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("exit 4", "ended with status 4 before it listened on port 8080"),
        ("kill -9 $$", "was ended by signal 9 before it listened"),
        ("sleep 100", "listened on port 8080 within 2 s"),
    ],
)
async def test_a_server_that_never_listens_fails_its_run(
    world: World, known: Settings, images: Registry, shell: bytes, command: str, words: str
) -> None:
    image = images.push("deaf:1", [shell], Cmd=["sh", "-c", command], ExposedPorts=EXPOSED)
    workshop(world.services)
    deployed = await world.deploy(image=image, limits=msgspec.structs.replace(LIMITS, seconds=4))
    async with hosting(world), processes(known, "build"):
        await world.until_all(f"build-{deployed.build_id}", BuildEnded, 1)
        ended = await world.ended(await world.request())

    assert (ended.how, ended.reason) == ("failed", "harness_error")
    assert words in ended.detail


async def test_a_label_says_what_the_ports_do_not(
    world: World, known: Settings, images: Registry, shell: bytes
) -> None:
    image = images.push(
        "labelled:1",
        [shell],
        Cmd=["echo", "a command"],
        ExposedPorts=EXPOSED,
        Labels={"dev.argosy.protocol": "command"},
    )

    ended = await answered(world, known, image)

    assert ended.output == "a command"


async def test_a_private_image_is_fetched_with_what_the_workspace_signs_in_with(
    world: World, settings: Settings, shell: bytes
) -> None:
    workshop(world.services)
    with registry(("acme", "secret-word")) as private:
        image = private.push("cat:1", [shell], Entrypoint=["cat"])
        host = private.host
        knowing = replace(settings, outbound_allow=host, insecure_registries=host)
        nobody = await built(world, knowing, image)
        secret = await world.services.vault.put(WORKSPACE, "secret-word")
        spec = RegistryDocument(host=host, username="acme", credential=secret)
        await world.declare(REGISTRIES, "ours", spec)
        locked = await built(world, replace(knowing, master_key_file=Path()), image)

        ended = await answered(world, knowing, image, "hello")

    assert "nobody who has not signed in" in nobody.detail
    assert "the build worker needs the master key" in locked.detail
    assert (ended.how, ended.output) == ("completed", "hello")
    history = await world.services.store.read_all(after=0)
    assert not [each for each in history if b"secret-word" in each.data]
