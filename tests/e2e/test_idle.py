"""What `argosy dev` costs while nobody uses it."""

import time
from pathlib import Path

import psutil

from tests.e2e.servers import dev_server

MOST_PSS_MB = 350
MOST_CORE_SHARE = 0.03
SETTLE_SECONDS = 5
MEASURE_SECONDS = 10


def test_an_idle_dev_server_is_small_and_quiet(tmp_path: Path) -> None:
    """The waits are the measurement: a share of a core is a rate over time."""
    with dev_server(tmp_path / "data") as server:
        root = psutil.Process(server.process.pid)
        time.sleep(SETTLE_SECONDS)
        everyone = [root, *root.children(recursive=True)]
        before = _cpu_seconds(everyone)
        time.sleep(MEASURE_SECONDS)
        share = (_cpu_seconds(everyone) - before) / MEASURE_SECONDS
        pss = {" ".join(each.cmdline())[-60:]: _pss_mb(each) for each in everyone}

    assert sum(pss.values()) < MOST_PSS_MB, pss
    assert share < MOST_CORE_SHARE


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _pss_mb(process: psutil.Process) -> float:
    return process.memory_full_info().pss / 1_048_576
