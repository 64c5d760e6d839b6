"""`argosy doctor` beside a running server, and where none is."""

import os
import subprocess
from pathlib import Path
from typing import Any

from adapters.event_store.migrate import REVISION
from tests.e2e.servers import ARGOSY, ROOT, DevServer, Finished, free_port


def doctor(home: Path, *arguments: str, **environment: str) -> Finished:
    """Run it as somebody who has set nothing but `environment`."""
    done = subprocess.run(
        [ARGOSY, "doctor", *arguments],
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def by_check(finished: Finished) -> dict[str, dict[str, Any]]:
    """Return the findings of `--json`, the last of each check."""
    return {each["check"]: each for each in finished.json["findings"]}


def test_a_running_server_is_well(dev: DevServer) -> None:
    finished = dev.argosy("doctor", "--json")

    found = by_check(finished)
    assert finished.json["well"]
    assert found["server"]["detail"] == f"{dev.url} is ready"
    assert "admin" in found["key"]["detail"]
    assert {found[check]["status"] for check in ("sandbox", "data", "blobs", "redis")} == {"ok"}
    assert f"schema {REVISION}" in found["database"]["detail"]


def test_a_person_reads_a_line_for_each_finding(dev: DevServer) -> None:
    lines = dev.argosy("doctor").out.splitlines()

    assert all(line.startswith(("ok ", "warning ", "failure ")) for line in lines)
    assert any("sandbox" in line for line in lines)


def test_without_a_server_it_says_how_to_start_one(tmp_path: Path) -> None:
    finished = doctor(tmp_path, "--json", "--no-sandboxes")

    server = by_check(finished)["server"]
    assert server["status"] == "warning"
    assert "argosy dev" in server["detail"]
    assert finished.code == 0


def test_a_server_that_does_not_answer_is_a_failure(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    finished = doctor(tmp_path, "--no-sandboxes", ARGOSY_URL=url, ARGOSY_API_KEY="k")

    assert finished.code == 1
    assert finished.out.startswith(f"failure  server          {url}")
    assert "ARGOSY_URL" in finished.out


def test_a_key_that_is_refused_is_a_failure(dev: DevServer, tmp_path: Path) -> None:
    finished = doctor(tmp_path, "--no-sandboxes", "--json", ARGOSY_URL=dev.url, ARGOSY_API_KEY="k")

    found = by_check(finished)
    assert found["server"]["status"] == "ok"
    assert found["key"]["status"] == "failure"
    assert "ARGOSY_API_KEY" in found["key"]["detail"]
    assert finished.code == 1


def test_a_machine_of_a_server_is_held_to_a_servers_rules(tmp_path: Path) -> None:
    """No Redis of its own, and limits that hold for a whole sandbox."""
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    finished = doctor(tmp_path, "--json", ARGOSY_REDIS=nowhere, ARGOSY_CGROUPS="none")

    found = by_check(finished)
    assert found["redis"]["status"] == "failure"
    assert found["cgroups"]["status"] == "failure"
    assert finished.code == 1


def test_the_client_alone_looks_at_the_connection(dev: DevServer, tmp_path: Path) -> None:
    """As it is published: without the server's code beside it."""
    copied = tmp_path / "a" / "b" / "c"
    copied.mkdir(parents=True)
    subprocess.run(["cp", "-r", ROOT / "sdk" / "argosy", copied], check=True)
    python = Path(ARGOSY).with_name("python")
    code = "import sys; from argosy.cli.main import main; sys.exit(main(['doctor', '--json']))"
    done = subprocess.run(
        [python, "-c", code],
        cwd=copied,
        env={**dev.environment(), "PYTHONPATH": str(copied)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    finished = Finished(done.returncode, done.stdout, done.stderr)
    assert set(by_check(finished)) == {"server", "key"}
    assert "where the server's code is" in finished.err
