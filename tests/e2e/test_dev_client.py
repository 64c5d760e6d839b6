"""The Python client against a real server: typed, and not to be shaken off."""

import threading
from collections.abc import Iterator

import psutil
import pytest
from argosy import Argosy, Conflict, Forbidden, Invalid, LiveEvent, NotFound, StillGoing

from tests.e2e.servers import KEY, DevServer

TICKS = 30
TICKING = f"""
import time
for n in range({TICKS}):
    print("tick", n, flush=True)
    time.sleep(0.1)
"""


@pytest.fixture
def client(dev: DevServer) -> Iterator[Argosy]:
    """A client of the shared dev server."""
    with Argosy(dev.url, KEY) as made:
        yield made


def deploy(client: Argosy, name: str, agent: str) -> None:
    """Deploy one file and wait until it is ready."""
    deployed = client.deploy({"agent.py": agent}, name=name)
    ready = client.wait_until_ready(deployed, timeout=30)
    assert ready.serving == deployed.revision


def test_an_agent_is_deployed_and_invoked(client: Argosy) -> None:
    deploy(client, "shout", "def handler(request):\n    return request['message'].upper()\n")

    run = client.invoke("shout", "hello")

    assert (run.status, run.output) == ("completed", "HELLO")
    assert client.runs.list(deployment="shout").items[0].id == run.id
    assert client.agents.get("shout").versions[0].mode == "INSTANT_RUNTIME"
    assert next(client.runs.all()).id == run.id


def test_a_stream_outlives_the_api(client: Argosy, dev: DevServer) -> None:
    """The process that serves it is killed in the middle; every version comes once, in order."""
    deploy(client, "ticking", TICKING)
    api = next(
        each
        for each in psutil.Process(dev.process.pid).children()
        if each.cmdline()[-2:] == ["-m", "api"]
    )
    seen: list[LiveEvent] = []
    lost: list[str] = []
    for event in client.stream("ticking", "go", lost=lost.append):
        seen.append(event)
        if len(seen) == 8:
            api.kill()

    versions = [event.version for event in seen if event.version is not None]
    assert lost != []
    assert versions == list(range(1, len(versions) + 1))
    text = "".join(event.data["content"] for event in seen if event.type == "message")
    assert text.split() == [word for n in range(TICKS) for word in ("tick", str(n))]
    assert seen[-1].last
    assert seen[-1].data["status"] == "completed"


def test_a_run_is_waited_for_and_cancelled(client: Argosy) -> None:
    deploy(client, "ticking", TICKING)
    run = client.invoke("ticking", "go", wait=False)

    with pytest.raises(StillGoing):
        client.runs.wait(run.id, timeout=0.2)
    threading.Timer(0.2, client.runs.cancel, [run.id]).start()
    ended = client.runs.wait(run.id)

    assert (ended.status, ended.reason) == ("cancelled", "requested")


def test_a_rollback_runs_what_was_built_before_and_leaves_runs_alone(client: Argosy) -> None:
    needing = {"agent.py": "import idna\nprint('first', idna.encode('\u00e4').decode())\n"}
    first = client.deploy(needing, name="returning", requirements="idna")
    assert first.build_required
    assert client.wait_until_ready(first, timeout=120).serving == first.revision
    second = "import time\nprint('begun', flush=True)\ntime.sleep(3)\nprint('second')\n"
    deploy(client, "returning", second)
    in_flight = client.stream("returning", "go")
    seen = [next(in_flight)]
    while seen[-1].data.get("content", "").strip() != "begun":
        seen.append(next(in_flight))
    builds = [each.id for each in client.builds.all()]

    made = client.deployments.rollback("returning")

    assert (made.revision, made.rolled_back_to, made.version) == (3, 1, 1)
    assert made.deployment.serving == 3
    run = client.invoke("returning", "go", timeout=30)
    assert (run.revision, run.status, run.output.strip()) == (3, "completed", "first xn--4ca")
    *_, last = in_flight
    assert last.data["output"].split() == ["begun", "second"]
    assert [each.id for each in client.builds.all()] == builds
    difference = client.deployments.diff("returning", 2, 3)
    assert difference.requirements.added == ["idna"]
    assert [file.path for file in difference.files] == ["agent.py"]
    with pytest.raises(Conflict, match="no earlier revision"):
        client.deployments.rollback("returning")


def test_a_stream_is_replayed_at_every_version(client: Argosy) -> None:
    deploy(client, "shout", "def handler(request):\n    return request['message'].upper()\n")
    run = client.invoke("shout", "hello")

    whole = client.replay(f"run-{run.id}")

    assert [event.version for event in whole.events] == list(range(1, whole.version + 1))
    assert whole.state["kind"] == "ended"
    for version in range(1, whole.version + 1):
        part = client.replay(f"run-{run.id}", at=version)
        assert part.version == version
        assert part.events == whole.events[:version]


def test_refusals_are_errors_of_their_own(client: Argosy, dev: DevServer) -> None:
    client.workspaces.create("taken")

    with pytest.raises(Conflict):
        client.workspaces.create("taken")
    with pytest.raises(NotFound):
        client.invoke("nobody", "x")
    with pytest.raises(Invalid) as caught:
        client.deploy({"agent.py": "def f(:"}, name="broken")
    assert caught.value.field == "source.files.agent.py"
    assert (caught.value.members["line"], caught.value.members["column"]) == (1, 7)
    key = client.keys.create("reader", "viewer").key
    assert key is not None
    with Argosy(dev.url, key) as reader, pytest.raises(Forbidden):
        reader.deploy({"agent.py": "x = 1"}, name="no")
