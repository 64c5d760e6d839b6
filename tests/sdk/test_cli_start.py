"""The command line starts fast, and imports a client only when it needs one."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ARGOSY = Path(sys.executable).with_name("argosy")
MOST_SECONDS = 0.120  # more than Python itself takes to start
TRIES = 10


def seconds_of(*command: str) -> float:
    """Return how long a command takes."""
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True, timeout=30)
    return time.perf_counter() - began


def test_help_is_there_at_once() -> None:
    """Of some runs the fastest counts, in turns with Python's: the rest is somebody else's load."""
    turns = [
        (seconds_of(str(ARGOSY), "--help"), seconds_of(sys.executable, "-c", ""))
        for _ in range(TRIES)
    ]
    helps, pythons = zip(*turns, strict=True)

    assert min(helps) - min(pythons) < MOST_SECONDS


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["deploy", "--help"]])
def test_help_needs_no_client(arguments: list[str]) -> None:
    code = (
        "import sys; from argosy.cli.main import main; main(sys.argv[1:]);"
        "print(sorted({'httpx', 'msgspec', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_is_no_traceback() -> None:
    piped = f"{ARGOSY} run --help | true"
    done = subprocess.run(piped, shell=True, capture_output=True, text=True, check=False)

    assert "Traceback" not in done.stderr


def test_colours_are_for_terminals(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [ARGOSY, "run", "list"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 4
    assert done.stderr.startswith("error: No Argosy server is known.")
    assert "argosy dev" in done.stderr
    assert len(done.stderr.splitlines()) == 1
