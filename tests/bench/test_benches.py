"""Every bench runs, and prints what `python -m bench` promises. What they measure means nothing
here: it is as little of each as still goes through all of it.
"""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from structlog.testing import capture_logs

from bench import rounds
from bench.__main__ import NAMES, run
from tests.conftest import require
from tests.workers.builds import environment_for, open_directory
from tests.workers.packages import Index, make_wheel, serve
from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.drivers import choose

LINE = re.compile(r"[a-z][a-z0-9-]* \d+(\.\d+)? \d+(\.\d+)? (ok|short)(  # .+)?")
TINY: dict[str, dict[str, Any]] = {
    "append": {"SECONDS": 0.05},
    "build": {"ROUNDS": 1, "REQUIREMENTS": ("good",)},
    "command": {"ROUNDS": 1, "SECONDS": 0.2, "CONNECTIONS": 4},
    "deploys": {"ROUNDS": 1, "AT_ONCE": 5},
    "entries": {"SECONDS": 0.05, "RUNS": 2},
    "gateway": {
        "ROUNDS": 3,
        "AT_ONCE": 3,
        "AT_ONCE_ROUNDS": 1,
        "CALLS": 10,
        "WARM_CALLS": 10,
    },
    "live": {"ROUNDS": 1, "SUBSCRIBERS": 3, "EVENTS": 3, "WARM_EVENTS": 1},
    "order": {"SECONDS": 0.1, "WRITERS": 2, "MOST_WRITERS": 2},
    "rebuild": {"OUR_RUNS": 200, "THEIR_RUNS": 10},
    "replay": {"RUNS": 50},
    "run": {"ROUNDS": 2, "WARM_ROUNDS": 1},
    "sandbox": {"ROUNDS": 2},
}
NEEDS_SANDBOXES = ("build", "deploys", "run", "sandbox")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package index on loopback, which uv is told of as an operator would."""
    with open_directory() as folder:
        make_wheel(folder, "good", "1.0")
        with serve(Index(folder)) as served:
            for name, value in environment_for(served.url).items():
                monkeypatch.setenv(name, value)
            yield


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("name", NAMES)
def test_a_bench_prints_lines_that_can_be_read(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in NEEDS_SANDBOXES:
        try:
            choose()
        except SandboxUnsupported as refusal:
            require("bwrap", refusal.detail)
    module = import_module(f"bench.{name}")
    for constant, value in TINY[name].items():
        assert hasattr(module, constant)
        monkeypatch.setattr(module, constant, value)
    defaults: Any = rounds.compare.__kwdefaults__
    monkeypatch.setitem(defaults, "rounds", 1)

    with capture_logs():
        assert run([name]) == 0

    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if not LINE.fullmatch(line)] == []


def test_a_bench_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["no-such-bench"]) != 0

    assert "There is no bench no-such-bench." in capsys.readouterr().out
