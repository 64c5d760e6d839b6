"""One invocation of an agent in its image: its program, its task, and what it said.

Each is a process of its own, `argosy._runner` as in a sandbox: code and answers are those of a run.
In-image code: standard library only, Python 3.11 or newer.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from argosy._runner import CHANNEL_VARIABLE

SOURCE, DEPENDENCIES, BASE = "/app", "/opt/dependencies", "/opt/base"
INVOKE_SECONDS = 600.0
LINGER_SECONDS = 1.0  # what a program that has ended left behind may still say so long
MAX_OUTPUT = 1 << 20  # characters of each text; the rest is dropped
MAX_LINE = 128 * 1024
MAX_CALLS = 1_000


class Invocation:
    """What was asked, and how it is told to the program."""

    def __init__(
        self, message: str, history: "list[Any]", run_id: str = "", user_id: str = ""
    ) -> None:
        self.message = message
        self.history = history
        self.run_id = run_id
        self.user_id = user_id

    def framed(self) -> bytes:
        """Return the task as `argosy._runner` reads it."""
        fields = {
            "entry_point": os.environ.get("USER_ENTRY_POINT", "agent.py"),
            "source": SOURCE,
            "dependencies": DEPENDENCIES if os.path.isdir(DEPENDENCIES) else "",  # noqa: PTH112 - as _runner
            "base": BASE if os.path.isdir(BASE) else "",  # noqa: PTH112
            "python_path": "",
            "message": self.message,
            "history": json.dumps(self.history),
            "context": "{}",
            "run_id": self.run_id,
            "user_id": self.user_id,
            "conversation_id": "",
            "attempt": "1",
            "system_prompt": os.environ.get("SYSTEM_PROMPT", ""),
            "environment": "",  # the program inherits it
        }
        values = {name: value.encode("utf-8", "replace") for name, value in fields.items()}
        header = " ".join(f"{name}={len(value)}" for name, value in values.items())
        return b"\n".join((header.encode(), b"".join(values.values())))


class Outcome:
    """What became of it. `error`: what went wrong, empty where it answered."""

    def __init__(self) -> None:
        self.error = ""
        self.timed_out = False
        self.calls: list[dict[str, Any]] = []
        self.extra: dict[str, Any] = {}
        self.input_tokens = 0
        self.output_tokens = 0
        self.seconds = 0.0
        self._said = _Text()
        self._answered = _Text()
        self._printed = _Text()
        self._source = "said"
        self._says_on_stdout = False

    @property
    def response(self) -> str:
        """The agent's answer."""
        if self._source == "stdout" and not self._says_on_stdout:
            return self._printed.text
        return self._answered.text if self._source == "answer" else self._said.text

    @property
    def printed(self) -> str:
        """What it printed that is no part of its answer."""
        return "" if self._says_on_stdout else self._printed.text

    def print(self, data: bytes) -> None:
        """Take what it wrote to its standard output."""
        text = data.decode("utf-8", "replace")
        (self._said if self._says_on_stdout else self._printed).add(text)

    def hear(self, line: bytes) -> None:
        """Take a line of its channel; see `_channel`."""
        try:
            said: Any = json.loads(line)
        except ValueError:
            return
        match said:
            case {"type": "start", "stdout": stdout}:
                self._says_on_stdout = stdout == "say"
                if self._says_on_stdout:
                    self._said, self._printed = self._printed, self._said
            case {"type": "message", "text": str(text), "answer": True}:
                self._answered.add(text)
            case {"type": "message", "text": str(text)}:
                self._said.add(text)
            case {"type": "tool_call", "tool": tool} if len(self.calls) < MAX_CALLS:
                self.calls.append({"tool": tool, "arguments": said.get("input")})
            case {"type": "usage", "input_tokens": int(given), "output_tokens": int(made)}:
                self.input_tokens += given
                self.output_tokens += made
            case {"type": "error" | "failure", "message": str(message)}:
                self.error = message
                sys.stderr.write(f"{said.get('traceback') or message}\n")
            case {"type": "result", "from": str(source)}:
                self._source = source
                extra = said.get("extra")
                self.extra = extra if isinstance(extra, dict) else {}
            case _:
                pass


class _Text:
    """The beginning of a text that comes in pieces."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, text: str) -> None:
        self.text = (self.text + text)[:MAX_OUTPUT]


def invoke(asked: Invocation, seconds: float = INVOKE_SECONDS) -> Outcome:
    """Run the agent's program once, to its end or for so long. Raises OSError."""
    outcome, began = Outcome(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="invocation-", ignore_cleanup_errors=True) as folder:
        code = _run(asked, outcome, folder, began + seconds)
    outcome.seconds = time.monotonic() - began
    if outcome.timed_out:
        outcome.error = f"The agent took longer than {seconds:g} s."
    elif code != 0 and not outcome.error:
        outcome.error = f"The agent's program ended with status {code}."
    return outcome


def _run(asked: Invocation, outcome: Outcome, folder: str, deadline: float) -> int:
    channel, writing = os.pipe()
    environment = os.environ | {
        CHANNEL_VARIABLE: str(writing),
        "RUNAGENTS_USER_CODE_DIR": folder,
        "ARGOSY_RUN_ID": asked.run_id,
    }
    with open(channel, "rb", buffering=0) as said, tempfile.TemporaryFile() as task:  # noqa: PTH123
        try:
            task.write(asked.framed())
            task.seek(0)
            process = subprocess.Popen(  # noqa: S603 - this very interpreter
                _command(),
                stdin=task,
                stdout=subprocess.PIPE,
                cwd=folder,
                env=environment,
                pass_fds=(writing,),
                start_new_session=True,
            )
        finally:
            os.close(writing)
        with process:
            try:
                _listen(process, said, outcome, deadline)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
    return code


def _listen(
    process: "subprocess.Popen[bytes]", said: "Any", outcome: Outcome, deadline: float
) -> None:
    """Hear both pipes until they end, or the program has ended and a moment has gone by."""
    assert process.stdout is not None  # it is a pipe
    half = b""
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            for each in (said, process.stdout, ended):
                selector.register(each, selectors.EVENT_READ)
            while len(selector.get_map()) > 1 or ended in selector.get_map():
                ready = selector.select(max(deadline - time.monotonic(), 0))
                if not ready:
                    outcome.timed_out = ended in selector.get_map()
                    return
                for key, _ in ready:
                    if key.fileobj == ended:
                        selector.unregister(ended)
                        deadline = time.monotonic() + LINGER_SECONDS
                        continue
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is said:
                        *lines, half = (half + data).split(b"\n")
                        half = half if len(half) <= MAX_LINE else b""
                        for line in lines:
                            outcome.hear(line)
                    else:
                        outcome.print(data)
    finally:
        os.close(ended)


def _command() -> "list[str]":
    """Return what starts a program as this one was started."""
    flags = sys.orig_argv[1 : sys.orig_argv.index("-c")]
    start = "import sys; sys.path.insert(0, sys.argv[1]); from argosy._runner import main; main()"
    return [sys.executable, *flags, "-c", start, os.path.dirname(os.path.dirname(__file__))]  # noqa: PTH120
