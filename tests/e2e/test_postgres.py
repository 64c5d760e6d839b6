"""The same server with its log and its read models in PostgreSQL."""

import os
import signal
from pathlib import Path

from tests.e2e import test_faults as faults
from tests.e2e.servers import ROOT, dev_server
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

OVERLAY = (
    "import idna\ndef handler(request):\n    return idna.encode(request['message']).decode()\n"
)


def test_the_whole_path_works_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """Deploy, build, run, take over after a kill, list and replay."""
    settings = {
        "ARGOSY_DATABASE": postgres_url,
        "ARGOSY_LEASE_SECONDS": str(faults.LEASE_SECONDS),
    }
    with dev_server(tmp_path / "data", environment=settings) as dev:
        dev.argosy("deploy", str(ROOT / "examples" / "echo"))
        run = dev.argosy("invoke", "echo", "-m", "hello", "--json").json
        assert run["output"] == "hello"
        assert dev.argosy("run", "list", "--json").json["items"][0]["id"] == run["id"]

        source = tmp_path / "overlay"
        source.mkdir()
        (source / "agent.py").write_text(OVERLAY)
        (source / "requirements.txt").write_text("idna==3.10\n")
        dev.argosy("deploy", str(source))
        built = dev.argosy("invoke", "overlay", "-m", "bücher", "--json").json
        assert built["output"] == "xn--bcher-kva"

        faults.deploy(dev, "silent", "import time\ntime.sleep(1.5)\nprint('late')\n")
        run_id = faults.request(dev, "silent")
        faults.wait_for(dev, run_id, "run.started")
        os.kill(faults.child(dev, "workers", "host").pid, signal.SIGKILL)
        ended = faults.wait_for(dev, run_id, "run.ended")[0]
        assert ended["data"]["output"] == "late"
        replayed = dev.argosy("replay", f"run-{run_id}", "--json").json
        assert replayed["state"]["end"]["attempt"] == 2
        assert not (tmp_path / "data" / "log.db").exists()
