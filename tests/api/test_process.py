"""`python -m api` as a process: bootstrap, serve, stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

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
    url = f"http://127.0.0.1:{environment['ARGOSY_PORT']}"
    log = tmp_path / "api.log"
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, "-m", "api"], env=environment, stderr=output)
    try:
        _wait_until_it_answers(process, f"{url}/healthz", log)
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
    finally:
        process.kill()
        process.wait()

    assert who.status_code == 200
    assert code == 0
    assert time.monotonic() - began < 10
    said = log.read_text()
    assert '"request_id":"look-for-me"' in said
    assert KEY not in said
    assert MASTER_KEY not in said


def test_a_setting_that_is_wrong_is_named(environment: dict[str, str]) -> None:
    done = run_api(environment | {"ARGOSY_PORT": "many"})

    assert done.returncode == 1
    assert "port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_that_no_request_could_carry_is_refused(environment: dict[str, str]) -> None:
    done = run_api(environment | {"ARGOSY_DEV_API_KEY": "two words"}, "bootstrap")

    assert done.returncode == 1
    assert "two words" not in done.stderr


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
