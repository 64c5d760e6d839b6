"""`argosy dev`: says what it does, holds its directory, mends itself, and leaves nothing."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.servers import ARGOSY, KEY, ROOT, DevServer, dev_server

WAIT_SECONDS = 30.0


def until(true: Callable[[], bool], what: str) -> None:
    """Return as soon as it is true."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"waited {WAIT_SECONDS:g} s until {what}"
        time.sleep(0.05)


def family(server: DevServer) -> list[psutil.Process]:
    """Return the supervisor and every process below it."""
    supervisor = psutil.Process(server.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def child(server: DevServer, command: str) -> psutil.Process | None:
    """Return the child whose command line ends so; None while there is none."""
    for process in psutil.Process(server.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if " ".join(process.cmdline()).rstrip().endswith(command):
                return process
    return None


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs."""
    return not any(each.is_running() and each.status() != "zombie" for each in processes)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder that can be deployed."""
    folder = Path(tmp_path_factory.mktemp("agent"))
    (folder / "agent.py").write_text("print('hello')\n")
    return str(folder)


def start(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start `argosy dev` where it cannot run, and return how it ended."""
    return subprocess.run(
        [ARGOSY, "dev", "--data-dir", str(data), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_it_says_where_it_is_and_what_happens(dev: DevServer, agent: str) -> None:
    log = dev.log.read_text()
    assert f"Argosy is ready at {dev.url}" in log
    assert KEY in log
    assert "argosy deploy examples/echo" in log

    dev.argosy("deploy", agent, "--name", "told")
    run = dev.argosy("invoke", "told", "-m", "hello", "--json").json

    until(lambda: f"run {run['id']}  completed" in dev.log.read_text(), "the run is told")
    lines = [line for line in dev.log.read_text().splitlines() if run["id"] in line]
    assert "requested  told" in lines[0]
    assert len(lines) == 4  # requested, claimed, started, completed


def test_the_directory_is_for_its_owner_only(dev: DevServer) -> None:
    assert dev.data.stat().st_mode & 0o777 == 0o700
    assert (dev.data / "dev.json").stat().st_mode & 0o777 == 0o600
    found = json.loads((dev.data / "dev.json").read_text())
    assert (found["url"], found["api_key"]) == (dev.url, KEY)
    assert found["pid"] == dev.process.pid


def test_started_twice_it_says_so(dev: DevServer) -> None:
    second = start(dev.data, "--port", "1")

    assert second.returncode == 5
    assert f"already runs on {dev.data} at {dev.url} (process {dev.process.pid})" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert httpx.get(f"{dev.url}/healthz").status_code == 200


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = start(tmp_path / "data", "--port", str(port))

    assert done.returncode == 5
    assert f"Cannot listen on 127.0.0.1, port {port}" in done.stderr
    assert "--port" in done.stderr


@pytest.mark.parametrize(
    "command",
    ["-m workers host", "-m api", "-m workers.dev.core", "-m workers build", "redis.sock"],
)
def test_a_child_that_dies_is_started_again(dev: DevServer, agent: str, command: str) -> None:
    first = child(dev, command)
    assert first is not None
    told = dev.log.read_text().count("killed by SIGKILL")

    first.kill()

    until(lambda: child(dev, command) not in (None, first), f"{command} runs again")
    until(lambda: dev.log.read_text().count("killed by SIGKILL") > told, "the death is told")
    until(lambda: _status(dev) == "ok", "the server is ready again")
    dev.argosy("deploy", agent, "--name", "mended")
    assert dev.argosy("invoke", "mended", "-m", "hello", "--json").json["output"] == "hello"


def test_killed_or_stopped_it_leaves_nothing(tmp_path: Path, agent: str) -> None:
    data = tmp_path / ("a-path-that-is-too-long-for-a-unix-socket" * 3) / "data"
    data.parent.mkdir()
    with dev_server(data) as first:
        processes = family(first)
        assert len(processes) >= 6
        first.process.kill()
        first.process.wait()
        until(lambda: gone(processes), "the kernel has ended the children")
        assert "not running any more" in first.argosy("run", "list", expect=4).err
        (data / "dev.json").unlink()  # or `dev_server` takes it for the next one's

    with dev_server(data, "--workers", "2") as second:
        processes = family(second)
        lines = [" ".join(each.cmdline()) for each in processes]
        assert len([line for line in lines if line.endswith("-m workers host")]) == 2
        [socket_path] = re.findall(r"unixsocket:(\S+redis\.sock)", "\n".join(lines))
        assert Path(socket_path).is_socket()
        second.argosy("deploy", agent, "--name", "echo")
        second.argosy("invoke", "echo", "-m", "hello")

        second.process.send_signal(signal.SIGTERM)

        assert second.process.wait(20) == 0
        assert gone(processes)
    assert not Path(socket_path).parent.exists()
    assert not (data / "dev.json").exists()
    assert [path for path in data.rglob("*") if path.is_socket()] == []
    assert str(data) not in Path("/proc/self/mountinfo").read_text()
    assert "argosy dev" in second.argosy("run", "list", expect=4).err


def test_ctrl_c_waits_for_what_runs_and_twice_does_not(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("import time\ntime.sleep(60)\n")
    data = tmp_path / "data"
    with dev_server(data, environment={"ARGOSY_DRAIN_SECONDS": "50"}) as dev:
        dev.argosy("deploy", str(tmp_path / "agent.py"), "--name", "slow")
        asked = httpx.post(
            f"{dev.url}/v1/workspaces/default/deployments/slow/runs",
            json={"message": "sleep"},
            headers={"Authorization": f"Bearer {KEY}"},
        )
        assert asked.status_code == 202, asked.text
        log = data / "logs" / "host-1.log"
        until(lambda: "run.claimed" in log.read_text(), "the run has begun")
        dev.process.send_signal(signal.SIGINT)
        until(lambda: "host.draining" in log.read_text(), "the host finishes what it has")
        began = time.monotonic()

        dev.process.send_signal(signal.SIGINT)

        assert dev.process.wait(30) == 0
    assert time.monotonic() - began < 25
    assert "was stopped" in log.read_text()


def _status(dev: DevServer) -> str:
    try:
        return str(httpx.get(f"{dev.url}/readyz").json()["status"])
    except httpx.TransportError:
        return "away"
