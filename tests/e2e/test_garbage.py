"""Blobs of a server that goes on: what was deleted goes, what may run again stays."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.servers import DevServer, dev_server
from tests.e2e.test_backup import HEADERS, ask, operate, run, wait_for

DAYS = 3 * 86_400
FIRST, SECOND, GONE = (f"print('{name}')\n" for name in ("first", "second", "gone"))


def deploy(dev: DevServer, name: str, text: str) -> None:
    source = {"files": {"agent.py": text}}
    ask(dev, "/workspaces/default/deployments", {"name": name, "source": source})


def says(dev: DevServer, name: str) -> str:
    """Run an agent, from the blob store and not from this machine's copy."""
    for layer in (dev.data / "machine" / "cache" / "layers").glob("*"):
        shutil.rmtree(layer)
    return wait_for(dev, run(dev, name), "run.ended")["output"]


def stored(dev: DevServer, text: str, place: str = "") -> bool:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return dev.data.joinpath("blobs", place, "sha256", digest[:2], digest[2:]).exists()


def collect_days_later(dev: DevServer, *arguments: str) -> dict[str, Any]:
    """Make everything that is stored three days older, and collect."""
    for path in (dev.data / "blobs").rglob("*"):
        if path.is_file():
            status = path.stat()
            os.utime(path, (status.st_atime - DAYS, status.st_mtime - DAYS))
    return operate(
        f"sqlite:///{dev.data / 'log.db'}", "gc", "--json", *arguments, data=dev.data
    ).json


def test_what_was_deleted_goes_and_what_was_replaced_still_runs(tmp_path: Path) -> None:
    with dev_server(tmp_path / "data") as dev:
        deploy(dev, "echo", FIRST)
        deploy(dev, "echo", SECOND)
        deploy(dev, "gone", GONE)
        assert says(dev, "gone") == "gone"
        url = f"{dev.url}/v1/workspaces/default/agents/gone"
        assert httpx.delete(url, headers=HEADERS, timeout=30).is_success

        told = collect_days_later(dev)
        assert stored(dev, GONE)
        aside = collect_days_later(dev, "--delete")
        assert stored(dev, GONE, "aside")
        removed = collect_days_later(dev, "--delete")

        assert told["set_aside"] == aside["set_aside"] == removed["removed"]
        assert told["set_aside"] == {"blobs": 1, "bytes": len(GONE)}
        assert [stored(dev, text) for text in (FIRST, SECOND, GONE)] == [True, True, False]
        assert says(dev, "echo") == "second"
        deploy(dev, "echo", FIRST)
        assert says(dev, "echo") == "first"
        deploy(dev, "gone", GONE)
        assert says(dev, "gone") == "gone"


def test_the_command_line_collects_where_the_data_is(tmp_path: Path) -> None:
    with dev_server(tmp_path / "data") as dev:
        deploy(dev, "echo", FIRST)

        told = dev.argosy("gc", "--json").json
        said = dev.argosy("gc", "--delete").out
        refused = dev.argosy("gc", "--grace-hours", "0", expect=1).err

    assert (told["deleted"], told["named"]["blobs"]) == (False, 1)
    assert "kept, because the log needs them" in said
    assert "at least 1" in refused


def test_people_are_told_what_would_go_and_what_is_refused(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'log.db'}"

    assert "at least 1" in operate(database, "gc", "--grace-hours", "0", expect=1).err
    assert "at least 1" in operate(database, "gc", "--grace-hours", "nan", expect=1).err
    assert "ARGOSY_DATABASE" in operate(database, "gc", "--delete", expect=1).err

    operate(database, "bootstrap")
    said = operate(database, "gc", data=tmp_path).out

    assert "would be removed" in said
    assert "--delete does it" in said
