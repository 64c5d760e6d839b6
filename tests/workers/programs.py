"""Run a harness's program for real, with pipes, and read what it writes."""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from domain.entries import (
    ErrorReported,
    LogWritten,
    MessageSaid,
    RunEntry,
    ThoughtSaid,
)
from workers.harnesses.harness import Result, Stream, Task
from workers.harnesses.harnesses import HARNESSES
from workers.harnesses.runtimes import write_runtime

SYSTEM_PYTHON = Path("/usr/bin/python3")
# The server's own, and the one that agents run with where the machine has it.
PYTHONS = [sys.executable, *([str(SYSTEM_PYTHON)] if SYSTEM_PYTHON.exists() else [])]
SECONDS = 30


@dataclass
class Ran:
    """One program that has ended. `feeds` is what it wrote, as it came; `work` what it left."""

    entries: list[RunEntry]
    result: Result
    work: Path
    feeds: list[tuple[Stream, bytes]] = field(default_factory=list[tuple[Stream, bytes]])
    code: int | None = None
    signal: int | None = None

    @property
    def output(self) -> str:
        return self.result.output

    @property
    def said(self) -> list[str]:
        return [entry.text for entry in self.entries if isinstance(entry, MessageSaid)]

    @property
    def thoughts(self) -> list[str]:
        return [entry.text for entry in self.entries if isinstance(entry, ThoughtSaid)]

    @property
    def errors(self) -> list[ErrorReported]:
        return [entry for entry in self.entries if isinstance(entry, ErrorReported)]

    def logs(self, stream: Literal["stdout", "stderr", "system"] = "stdout") -> list[str]:
        found = [entry for entry in self.entries if isinstance(entry, LogWritten)]
        return [entry.line for entry in found if entry.stream == stream]


type Run = Callable[..., Ran]
type Watch = Callable[[Stream, bytes], None]


def ignore(stream: Stream, data: bytes) -> None:
    """Watch nothing."""


@pytest.fixture(scope="session", params=PYTHONS, ids=["own", "system"][: len(PYTHONS)])
def interpreter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """Return an interpreter, and the runtime layer made for it."""
    python: str = request.param
    return python, write_runtime(tmp_path_factory.mktemp("runtimes"), python)


@pytest.fixture
def run(interpreter: tuple[str, Path], tmp_path: Path) -> Run:
    """Return what runs a source (agent.py, or files by path) as a task with given fields."""
    python, runtime = interpreter

    def run(source: str | dict[str, str], **fields: Any) -> Ran:
        files = {"agent.py": source} if isinstance(source, str) else source
        return run_source(tmp_path, files, python=python, runtime=runtime, **fields)

    return run


def run_source(
    folder: Path,
    files: dict[str, str],
    *,
    python: str,
    runtime: Path,
    message: str = "hello",
    **fields: Any,
) -> Ran:
    """Write a source into `folder` and run it with the harness `source`, unsandboxed."""
    source, work = folder / "source", folder / "work"
    work.mkdir(parents=True)
    for path, text in files.items():
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())
    task = Task(
        run_id="run-1",
        message=message,
        entry_point=fields.pop("entry_point", next(iter(files))),
        python=python,
        source_target=str(source),
        runtime_target=str(runtime),
        working_directory=str(work),
        **fields,
    )
    return run_task("source", task, work)


def run_task(harness: str, task: Task, work: Path, *, watch: Watch = ignore) -> Ran:
    """Launch a task in `work` and feed its reader until it has ended. `watch` sees what comes."""
    launch = HARNESSES[harness].launch(task)
    channel, channel_end = os.pipe()
    environment = {"PATH": os.defpath, **launch.environment, "ARGOSY_CHANNEL_FD": str(channel_end)}
    with subprocess.Popen(
        launch.argv,
        cwd=work,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[channel_end],
    ) as program:
        os.close(channel_end)
        assert program.stdin
        try:
            program.stdin.write(launch.stdin)
            program.stdin.close()
        except BrokenPipeError:
            pass
        reader = HARNESSES[harness].reader(task)
        feeds: list[tuple[Stream, bytes]] = []
        entries: list[RunEntry] = []
        for stream, data in _outputs(program, channel):
            feeds.append((stream, data))
            watch(stream, data)
            entries += reader.feed(stream, data)
        status = program.wait(timeout=SECONDS)
    code, signal = (status, None) if status >= 0 else (None, -status)
    last, result = reader.finish(code=code, signal=signal)
    return Ran([*entries, *last], result, work, feeds, code, signal)


def _outputs(program: subprocess.Popen[bytes], channel: int) -> Iterator[tuple[Stream, bytes]]:
    """Yield what comes on any pipe until all are closed; kill a program that takes too long."""
    assert program.stdout
    assert program.stderr
    deadline = time.monotonic() + SECONDS
    with selectors.DefaultSelector() as selector, os.fdopen(channel, "rb", buffering=0) as pipe:
        selector.register(program.stdout, selectors.EVENT_READ, "stdout")
        selector.register(program.stderr, selectors.EVENT_READ, "stderr")
        selector.register(pipe, selectors.EVENT_READ, "channel")
        while selector.get_map():
            if time.monotonic() > deadline:
                program.kill()
                raise TimeoutError(f"the program did not end within {SECONDS} s")
            for key, _ in selector.select(timeout=1):
                data = os.read(key.fd, 65_536)
                if data:
                    yield key.data, data
                else:
                    selector.unregister(key.fileobj)
