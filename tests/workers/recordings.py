"""Recorded transcripts: what a harness's programs wrote, and what is to be read from it.

`python -m tests.workers.recordings [NAME…]` runs the programs again and writes them to
tests/workers/transcripts/.
A recording is a promise: look at what changes in it.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from domain.registry import encode
from tests.workers.conversations import Reply, answered, streamed, wanting, world
from tests.workers.programs import PYTHONS, Ran, run_source, run_task
from workers.harnesses.harness import Result, Stream, Task
from workers.harnesses.runtimes import write_runtime
from workers.images.programs import ImageProgram

FOLDER = Path(__file__).with_name("transcripts")

SOURCES = {
    "source-script": (
        "import sys\n"
        "print('first')\nprint()\nprint('ü', end='')\nprint('trouble', file=sys.stderr)\n"
    ),
    "source-stream": (
        "from argosy import agent\n"
        "def handler(request):\n"
        "    print('working')\n"
        "    agent.think('let me see')\n"
        "    with agent.tool_call('search', {'q': request['message']}) as call:\n"
        "        call.result(['a', {'b': None}])\n"
        "    agent.usage(input_tokens=12, output_tokens=3, model='m')\n"
        "    agent.say('Found ')\n"
        "    agent.say('two.')\n"
        "    return {'response': 'Found two.', 'sources': 2}\n"
    ),
    "source-generator": "def handler(message):\n    yield from message.split()\n",
    "source-error": "def handler(request):\n    return 1 / 0\n",
    "source-exit": "import sys\nprint('before')\nsys.exit('no key')\n",
    "source-killed": "import os\nprint('before')\nos.kill(os.getpid(), 9)\n",
}

# What a model and its tools answer, in order.
CONVERSATIONS: dict[str, tuple[list[Reply], list[Reply]]] = {
    "native-tools": (
        [
            wanting(("search__call", '{"q": "ü"}'), text="Let me look."),
            streamed({"reasoning": "One, then."}, {"content": "Found "}, {"content": "one."}),
        ],
        [answered(["a", {"b": None}])],
    ),
    "native-failed": ([answered({"error": {"message": "The key is wrong."}}, 401)], []),
    "native-endless": ([wanting(("search__call", "{}"))] * 3, [answered({})] * 2),
}

# What images start.
COMMANDS = {
    "image-command": ("sh", "-c", "echo first; cat; echo trouble >&2; exit 3"),
    "image-absent": ("no-such-program",),
}


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What one program wrote, in Latin-1, and the entries and result that were read from it."""

    harness: str
    source: str
    feeds: list[tuple[Stream, str]]
    code: int | None
    signal: int | None
    entries: list[dict[str, Any]]
    result: Result


def recordings() -> dict[str, Recording]:
    """Return all there are, by name."""
    return {
        path.stem: msgspec.json.decode(path.read_bytes(), type=Recording)
        for path in sorted(FOLDER.glob("*.json"))
    }


def record(name: str, python: str, folder: Path) -> Recording:
    """Run one of SOURCES or CONVERSATIONS and return what it wrote."""
    runtime = write_runtime(folder / "runtimes", python)
    if name in SOURCES:
        files = {"agent.py": SOURCES[name]}
        ran = run_source(folder / name, files, python=python, runtime=runtime)
    elif name in COMMANDS:
        ran = _command(name, python, runtime, folder / name)
    else:
        ran = _converse(name, python, runtime, folder / name)
    return _recorded(name, ran)


def _converse(name: str, python: str, runtime: Path, work: Path) -> Ran:
    work.mkdir()
    with world() as there:
        models, tools = CONVERSATIONS[name]
        there.models, there.tools = list(models), list(tools)
        task = Task(
            run_id="run-1",
            message="hello",
            entry_point="",
            environment={**there.environment("search__call"), "MAX_TOOL_ITERATIONS": "2"},
            python=python,
            runtime_target=str(runtime),
            working_directory=str(work),
        )
        return run_task("native", task, work)


def _command(name: str, python: str, runtime: Path, work: Path) -> Ran:
    work.mkdir()
    task = Task(
        run_id="run-1",
        message="hello",
        entry_point="",
        program=ImageProgram(argv=COMMANDS[name]),
        python=python,
        runtime_target=str(runtime),
        working_directory=str(work),
    )
    return run_task("image", task, work)


def _recorded(name: str, ran: Ran) -> Recording:
    return Recording(
        harness=name.partition("-")[0],
        source=SOURCES.get(name, ""),
        feeds=[(stream, data.decode("latin-1")) for stream, data in ran.feeds],
        code=ran.code,
        signal=ran.signal,
        entries=[msgspec.json.decode(encode(entry)) for entry in ran.entries],
        result=ran.result,
    )


def main() -> None:
    """Record all of them anew, or those named."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or [*SOURCES, *CONVERSATIONS, *COMMANDS]:
            made = msgspec.json.encode(record(name, PYTHONS[-1], Path(folder)))
            FOLDER.joinpath(f"{name}.json").write_bytes(msgspec.json.format(made, indent=2) + b"\n")
            sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
