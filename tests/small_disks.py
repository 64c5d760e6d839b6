"""A small disk for tests of what happens when it is full."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import tests.conftest

ROOT = Path(tests.conftest.__file__).parent.parent


def on_a_small_disk(script: str, options: str = "size=2m") -> None:
    """Run a Python script that finds an empty disk at `disk`; fail if it fails.

    In a mount namespace of its own, so that nothing has to be unmounted and any user may do it.
    """
    # Root must stay the real one, whom the host's uids mean something to.
    namespaces = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    prelude = "from pathlib import Path\ndisk = Path('/mnt')\n"
    python = [sys.executable, "-c", prelude + textwrap.dedent(script)]
    mounted = f'mount -t tmpfs -o {options},mode=0755 tmpfs /mnt && exec "$@"'
    done = subprocess.run(
        ["unshare", *namespaces, "sh", "-c", mounted, "sh", *python],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        tests.conftest.require("unshare", f"no disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
