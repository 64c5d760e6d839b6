"""`python -m api` as a process: bootstrap, serve, stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.collectors import collecting
from tests.stores import MASTER_KEY

KEY = "argosy_key_of_a_process_test_000000000000000000000000"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the process is told; nothing listens where its Redis would be."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    return {
        "PATH": os.environ["PATH"],
        "ARGOSY_DATA": str(tmp_path / "data"),
        "ARGOSY_PORT": port,
        "ARGOSY_REDIS": f"unix://{tmp_path}/nothing.sock",
        "ARGOSY_DEV_API_KEY": KEY,
        "ARGOSY_MASTER_KEY": MASTER_KEY,
        "ARGOSY_DRAIN_SECONDS": "10",
        "ARGOSY_UNREADY_SECONDS": "0.2",
    }


def run_api(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_serves_without_redis_and_stops_when_told(
    environment: dict[str, str], tmp_path: Path
) -> None:
    first = run_api(environment, "bootstrap")
    again = run_api(environment, "bootstrap")
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    assert KEY in first.stdout
    with serving(environment, tmp_path) as (process, url):
        headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": "look-for-me"}
        who = httpx.get(f"{url}/v1/whoami", headers=headers)
        stream = headers | {"Accept": "text/event-stream"}
        with httpx.stream("GET", f"{url}/v1/events", headers=stream, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert list(lines)  # the stream ends, whole: nothing keeps the server up
        code = process.wait(20)

    assert who.status_code == 200
    assert code == 0
    assert time.monotonic() - began < 10
    said = (tmp_path / "api.log").read_text()
    assert '"request_id":"look-for-me"' in said
    assert KEY not in said
    assert MASTER_KEY not in said


def test_a_collector_that_never_answers_holds_up_no_request_and_no_end(
    environment: dict[str, str], tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{environment['ARGOSY_PORT']}"
    log = tmp_path / "api.log"
    with collecting(slow=True) as collector, log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            env=environment | collector.environment,
            stderr=output,
        )
        try:
            _wait_until_it_answers(process, f"{url}/healthz", log)
            assert collector.asked.wait(10)
            asked = time.monotonic()
            for _ in range(20):
                assert httpx.get(f"{url}/healthz").status_code == 200
            asked = time.monotonic() - asked
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
        finally:
            process.kill()
            process.wait()

    assert asked < 5
    assert code == 0
    assert time.monotonic() - began < 5


def test_a_setting_that_is_wrong_is_named(environment: dict[str, str]) -> None:
    done = run_api(environment | {"ARGOSY_PORT": "many"})

    assert done.returncode == 1
    assert "ARGOSY_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_that_no_request_could_carry_is_refused(environment: dict[str, str]) -> None:
    done = run_api(environment | {"ARGOSY_DEV_API_KEY": "two words"}, "bootstrap")

    assert done.returncode == 1
    assert "two words" not in done.stderr


def test_it_says_that_it_leaves_and_serves_on_before_it_does(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with serving(environment | {"ARGOSY_UNREADY_SECONDS": "60"}, tmp_path) as (process, url):
        with httpx.Client(base_url=url) as client:
            before = client.get("/readyz")
            process.send_signal(signal.SIGTERM)
            _until(lambda: httpx.get(f"{url}/readyz").status_code == 503)
            ready = client.get("/readyz")
            alive = client.get("/healthz")

        process.send_signal(signal.SIGTERM)  # enough of that

        assert process.wait(20) == 0
    assert before.status_code == 200
    assert "connection" not in before.headers
    assert ready.json()["status"] == "draining"
    assert ready.json()["checks"]["database"] == "ok"
    assert alive.status_code == 200
    assert ready.headers["connection"] == alive.headers["connection"] == "close"


def test_a_request_under_way_is_answered_after_the_end_of_listening(
    environment: dict[str, str], tmp_path: Path
) -> None:
    body = b'{"slug": "late"}'
    assert run_api(environment, "bootstrap").returncode == 0
    with serving(environment, tmp_path) as (process, url), _begin(environment, body) as client:
        client.sendall(body[:5])
        process.send_signal(signal.SIGTERM)
        _until(lambda: not _listens(url))

        client.sendall(body[5:])
        answer = b"".join(iter(lambda: client.recv(4096), b""))

        assert process.wait(20) == 0
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"connection: close" in answer.lower()


def test_a_request_that_never_comes_to_its_end_keeps_nothing_up(
    environment: dict[str, str], tmp_path: Path
) -> None:
    assert run_api(environment, "bootstrap").returncode == 0
    environment["ARGOSY_DRAIN_SECONDS"] = "1"
    with serving(environment, tmp_path) as (process, _), _begin(environment, b"x" * 9) as client:
        client.sendall(b"x")
        began = time.monotonic()

        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == 0
    assert time.monotonic() - began < 10


@contextmanager
def serving(
    environment: dict[str, str], directory: Path
) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    """An API process and its URL."""
    url = f"http://127.0.0.1:{environment['ARGOSY_PORT']}"
    log = directory / "api.log"
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, "-m", "api"], env=environment, stderr=output)
    try:
        _wait_until_it_answers(process, f"{url}/healthz", log)
        yield process, url
    finally:
        process.kill()
        process.wait()


def _begin(environment: dict[str, str], body: bytes) -> socket.socket:
    """Send the head of a request for a workspace; the server has read it when this returns."""
    client = socket.create_connection(("127.0.0.1", int(environment["ARGOSY_PORT"])), 20)
    head = (
        f"POST /v1/workspaces HTTP/1.1\r\nHost: argosy\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    client.sendall(head.encode())
    assert client.recv(100).startswith(b"HTTP/1.1 100 ")
    return client


def _listens(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz")
    except httpx.TransportError:
        return False
    return True


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the API did not come up:\n{log.read_text()[-4000:]}")
