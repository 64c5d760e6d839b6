"""Run an agent that is a prompt, a model and tools: ask the model, call what it asks for, again.

The task comes on standard input, framed by `workers/harnesses/tasks.py`. In-sandbox code: see
`_channel`.
"""

import json
import os
import sys
import threading
import time
from urllib.parse import quote

from argosy import agent
from argosy._channel import open_channel, send, send_error
from argosy._chat import ModelFailed, Reply, ToolCall, ask
from argosy._http import as_list, as_object
from argosy._runner import (
    CHANNEL_VARIABLE,
    read_task,
    settle_forwarder,
    start_forwarder,
    take_environment,
)
from argosy._tools import Interrupted, Tools

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from typing import Any

# How the program ends; `workers/harnesses/native.py` says what each means for the run.
STEP_LIMIT, MODEL_FAILED, INTERRUPTED, NO_MODEL = 3, 4, 5, 6

DEFAULT_PROMPT = "You are a helpful assistant."
DEFAULT_ROUNDS = 10
PIECE_SECONDS = 0.05  # texts that come faster are joined


def main() -> None:
    """Run the task on standard input. Exits with 0 once the model has answered."""
    open_channel(int(os.environ.pop(CHANNEL_VARIABLE)), says_on_stdout=False)
    try:
        children = start_forwarder()
        task = read_task(0, children)
        take_environment(task["environment"])
        settle_forwarder(children)
    except OSError as error:
        send_error(f"The agent could not be started: {error}", kind="failure")
        sys.exit(1)
    send("start", '"stdout":"log"')
    sys.exit(_Loop(task).run())


class _Loop:
    """A conversation with a model, and the tools that it may call meanwhile."""

    def __init__(self, task: "dict[str, str]") -> None:
        self._url = os.environ.get("LLM_GATEWAY_URL", "")
        self._model = os.environ.get("LLM_MODEL", "")
        self._rounds = _rounds(os.environ.get("MAX_TOOL_ITERATIONS", ""))
        self._tools = Tools(os.environ)
        self._speech = _Speech()
        self._messages: list[dict[str, Any]] = [
            {"role": "system", "content": task["system_prompt"] or DEFAULT_PROMPT},
            *_history(task["history"]),
            {"role": "user", "content": task["message"]},
        ]

    def run(self) -> int:
        """Go on until the model answers without a call; returns the exit status."""
        if not self._model or not self._url:
            send_error("This agent has no model: add one to its llm_configs and deploy it again.")
            return NO_MODEL
        try:
            return self._converse()
        except ModelFailed as failed:
            send_error(str(failed))
            return MODEL_FAILED
        except Interrupted as interrupted:
            send_error(str(interrupted))
            return INTERRUPTED

    def _converse(self) -> int:
        for turn in range(self._rounds + 1):
            reply = self._ask()
            if not reply.calls:
                send("result", '"from":"said"')
                return 0
            if turn == self._rounds:
                break
            self._end_turn(reply)
            for call in reply.calls:
                self._call(call, turn)
        send_error(
            f"The model still wants to call tools after {self._rounds} rounds of calls, which is "
            "as many as MAX_TOOL_ITERATIONS allows."
        )
        return STEP_LIMIT

    def _ask(self) -> Reply:
        body: dict[str, Any] = {"model": self._model, "messages": self._messages}
        if self._tools.definitions:
            body |= {"tools": self._tools.definitions, "tool_choice": "auto"}
        try:
            return ask(self._url, body, self._speech.say)
        finally:
            self._speech.flush()

    def _end_turn(self, reply: Reply) -> None:
        """Keep what was said beside calls: it is no part of the answer."""
        if reply.text and not reply.text.endswith("\n"):
            agent.say("\n")
        for number, call in enumerate(reply.calls):
            call.id = call.id or f"call_{len(self._messages)}_{number}"
        self._messages.append(reply.message())
        send("turn", f'"calls":{len(reply.calls)}')

    def _call(self, call: ToolCall, turn: int) -> None:
        reported = agent.tool_call(call.name, _readable(call.arguments), call_id=call.id)
        headers = {"X-Tool-Call-Id": quote(call.id), "X-Tool-Turn": str(turn + 1)}
        try:
            told, succeeded = self._tools.call(call.name, call.arguments, headers)
        except Interrupted as interrupted:
            reported.fail(str(interrupted))
            raise
        end = reported.result if succeeded else reported.fail
        end(_readable(told))
        self._messages.append({"role": "tool", "tool_call_id": call.id, "content": told})


class _Speech:
    """Says texts that come fast in fewer pieces, and none of them much later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = ""
        self._said_at = 0.0
        self._timer: threading.Timer | None = None

    def say(self, text: str) -> None:
        """Say a text at once, or soon."""
        with self._lock:
            self._waiting += text
            wait = self._said_at + PIECE_SECONDS - time.monotonic()
            if wait <= 0:
                self._say()
            elif self._timer is None:
                self._timer = threading.Timer(wait, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Say what waits."""
        with self._lock:
            self._say()

    def _say(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            agent.say(self._waiting)
            self._waiting, self._said_at = "", time.monotonic()


def _rounds(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and text != "0" else DEFAULT_ROUNDS


def _history(text: str) -> "list[dict[str, Any]]":
    """Return the messages of a history; what is none is left out, and said."""
    given = as_list(json.loads(text))
    messages = [each for each in map(as_object, given) if "role" in each]
    if left_out := len(given) - len(messages):
        agent.log(f"{left_out} items of the history are no messages and were left out.")
    return messages


def _readable(text: str) -> object:
    """Return the JSON value that a text is, or the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
