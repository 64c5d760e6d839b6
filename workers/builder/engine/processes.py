"""What an engine runs for a build, found by its control group and ended.

Docker ends a build whose client is gone. Podman does not end the instruction that it is at
(https://github.com/containers/buildah, pull request 7007), so its programs are ended here.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

MOST_LOOKS = 100  # while there is something that starts others


def end_programs(group: str) -> None:
    """End every program of a control group; those of other machines and users are not seen."""
    for _ in range(MOST_LOOKS):
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        if not [pid for pid in pids if _is_in(pid, group) and _end(pid)]:
            return


def _is_in(pid: int, group: str) -> bool:
    try:
        return f"/{group}" in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def _end(pid: int) -> bool:
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
