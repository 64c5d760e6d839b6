"""The small runs that CI does: processes of their own, whose evidence comes back as a file."""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.chaos.evidence import Evidence
from tests.e2e.servers import ROOT

KILLS = 15  # on each database
SEED = 20_261_125
SECONDS = 240


def small_run(database: str) -> Evidence:
    """Run it, and return what it saw. It must be a process of its own: it adopts orphans."""
    with tempfile.TemporaryDirectory(prefix="argosy-chaos-") as folder:
        file = Path(folder, "evidence")
        arguments = ["--kills", str(KILLS), "--seed", str(SEED), "--evidence", str(file)]
        arguments += ["--database", database]
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert file.exists(), done.stderr[-8000:]
        return pickle.loads(file.read_bytes())
