"""Servers that cannot open their vault say so before they serve, and which those are."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from adapters.event_store.store import open_store
from adapters.sql_vault import open_vault
from tests.e2e.servers import ARGOSY, ROOT, dev_server, free_port
from tests.postgres import postgres_server, postgres_url
from tests.stores import database_url

__all__ = ["database_url", "postgres_server", "postgres_url"]

KEY, OTHER = os.urandom(32), os.urandom(32)
SECRET = "sk-canary-77c0"
KEEPERS = [["api"], ["workers", "host"]]
OTHERS = ["dispatch", "reap", "build"]
SECONDS = 30


def put(url: str, key: bytes, secret: str = SECRET) -> str:
    """Keep a secret, as the API does; returns its reference."""

    async def work() -> str:
        store = await open_store(url)
        vault = await open_vault(store.database, key)
        reference = await vault.put("w1", secret)
        await store.close()
        return reference

    return asyncio.run(work())


def reveal(url: str, key: bytes, reference: str) -> str:
    """Read it, as a run host does."""

    async def work() -> str:
        store = await open_store(url)
        vault = await open_vault(store.database, key)
        secret = await vault.reveal("w1", reference)
        await store.close()
        return secret

    return asyncio.run(work())


@pytest.fixture
def environment(database_url: str, tmp_path: Path) -> dict[str, str]:
    """An installation whose master key nobody has set."""
    return {
        "PATH": os.environ["PATH"],
        "ARGOSY_DATA": str(tmp_path / "data"),
        "ARGOSY_DATABASE": database_url,
        "ARGOSY_REDIS": f"unix://{tmp_path}/nothing.sock",
        "ARGOSY_PORT": str(free_port()),
        "ARGOSY_LIMIT_SCOPE": "process",
    }


def refused(module: list[str], environment: dict[str, str]) -> str:
    """Start a process that does not start; returns what it says."""
    done = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "ready" not in done.stderr
    assert "serving" not in done.stderr
    assert KEY.hex() not in done.stderr
    assert OTHER.hex() not in done.stderr
    return done.stderr


@pytest.mark.parametrize("module", KEEPERS)
def test_what_works_with_secrets_starts_only_with_their_key(
    module: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    put(environment["ARGOSY_DATABASE"], KEY)
    file = tmp_path / "master.key"
    named = {"ARGOSY_MASTER_KEY_FILE": str(file)}

    assert "There is no master key" in refused(module, environment)
    assert "is not a key" in refused(module, environment | {"ARGOSY_MASTER_KEY": "short"})
    assert f"{file}: No such file" in refused(module, environment | named)
    wrong = refused(module, environment | {"ARGOSY_MASTER_KEY": OTHER.hex()})
    assert "The master key is not the one that the vault, which keeps 1 secret, was" in wrong
    file.write_text(OTHER.hex())
    assert "to the key that it was" in refused(module, environment | named)


@pytest.mark.parametrize("kind", OTHERS)
def test_no_other_worker_needs_a_key(
    kind: str, environment: dict[str, str], tmp_path: Path
) -> None:
    put(environment["ARGOSY_DATABASE"], KEY)
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers", kind], cwd=ROOT, env=environment, stderr=output
        )
    try:
        while "ready" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def test_the_first_key_is_made_without_one(environment: dict[str, str]) -> None:
    put(environment["ARGOSY_DATABASE"], KEY)

    done = subprocess.run(
        [sys.executable, "-m", "api", "bootstrap"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_an_operator_changes_the_master_key_or_gives_the_secrets_up(
    environment: dict[str, str],
) -> None:
    url = environment["ARGOSY_DATABASE"]
    reference = put(url, KEY)
    old = environment | {"ARGOSY_MASTER_KEY": KEY.hex()}

    def operate(command: str, given: dict[str, str], said: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "api", command],
            cwd=ROOT,
            env=given,
            input=said,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert not any(key.hex() in done.stdout + done.stderr for key in (KEY, OTHER))
        return done.returncode, done.stdout + done.stderr

    code, said = operate("rekey", old, "not a key\n")
    assert code == 1
    assert "standard input is not a key" in said
    assert operate("rekey", old, f"{OTHER.hex()}\n")[0] == 0
    assert operate("rekey", old, f"{OTHER.hex()}\n")[0] == 1
    assert reveal(url, OTHER, reference) == SECRET

    code, said = operate("forget-secrets", environment)
    assert code == 0
    assert "Secrets forgotten: 1." in said
    put(url, KEY)


def test_a_dev_server_makes_its_key_and_hands_its_children_the_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with dev_server(data) as dev:
        file = data / "master.key"
        key = file.read_text().strip()
        family = psutil.Process(dev.process.pid).children()
        told = [each.environ() for each in family if "-m" in each.cmdline()]  # not Redis
        started = [" ".join(each.cmdline()) for each in family]
        assert dev.stop() == 0
    log = f"sqlite:///{data / 'log.db'}"
    reference = put(log, bytes.fromhex(key))

    with dev_server(data):
        assert file.read_text().strip() == key
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(told) == 4
    assert all(each.get("ARGOSY_MASTER_KEY_FILE") == str(file) for each in told)
    assert not any(key in text for each in told for text in each.values())
    assert not any(key in line for line in started)
    assert reveal(log, bytes.fromhex(key), reference) == SECRET
    texts = [each for each in data.rglob("*") if each.is_file() and each != file]
    assert not [str(each) for each in texts if key.encode() in each.read_bytes()]


def test_a_dev_server_whose_key_is_lost_says_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with dev_server(data):
        pass
    file = data / "master.key"
    first = file.read_text()
    file.unlink()
    with dev_server(data):  # nothing was lost with it
        assert file.read_text() != first

    key = bytes.fromhex(file.read_text())
    reference = put(f"sqlite:///{data / 'log.db'}", key)
    file.unlink()
    lost = _refused_dev(data)
    assert f"The master key {file} is gone" in lost
    assert not file.exists()

    file.write_text(OTHER.hex())
    assert "The master key is not the one" in _refused_dev(data)

    file.write_text(key.hex())
    with dev_server(data):
        pass
    assert reveal(f"sqlite:///{data / 'log.db'}", key, reference) == SECRET


def test_a_dev_server_keeps_to_the_key_that_it_is_given(tmp_path: Path) -> None:
    given = {"ARGOSY_MASTER_KEY": KEY.hex()}
    with dev_server(tmp_path / "data", environment=given) as dev:
        children = psutil.Process(dev.process.pid).children()
        told = {
            " ".join(each.cmdline()) for each in children if "ARGOSY_MASTER_KEY" in each.environ()
        }
        assert not (dev.data / "master.key").exists()

    assert sorted(line.split(" -m ")[1] for line in told) == ["api", "workers host"]
    put(f"sqlite:///{tmp_path / 'data' / 'log.db'}", KEY)


def _refused_dev(data: Path) -> str:
    done = subprocess.run(
        [ARGOSY, "dev", "--port", str(free_port()), "--data-dir", str(data)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr
