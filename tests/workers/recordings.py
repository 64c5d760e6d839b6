"""Recorded transcripts: what a harness's programs wrote, and what is to be read from it.

`python -m tests.workers.recordings` runs the programs again and writes tests/workers/transcripts/.
A recording is a promise: look at what changes in it.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from domain.registry import encode
from tests.workers.programs import PYTHONS, run_source
from workers.harnesses.harness import Result, Stream
from workers.harnesses.runtimes import write_runtime

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
    """Run one of SOURCES and return what it wrote."""
    runtime = write_runtime(folder / "runtimes", python)
    source = SOURCES[name]
    ran = run_source(folder / name, {"agent.py": source}, python=python, runtime=runtime)
    return Recording(
        harness=name.partition("-")[0],
        source=source,
        feeds=[(stream, data.decode("latin-1")) for stream, data in ran.feeds],
        code=ran.code,
        signal=ran.signal,
        entries=[msgspec.json.decode(encode(entry)) for entry in ran.entries],
        result=ran.result,
    )


def main() -> None:
    """Record all of SOURCES anew."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in SOURCES:
            made = msgspec.json.encode(record(name, PYTHONS[-1], Path(folder)))
            FOLDER.joinpath(f"{name}.json").write_bytes(msgspec.json.format(made, indent=2) + b"\n")
            sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
