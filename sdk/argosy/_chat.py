"""Ask a model for the next message of a conversation, and pass its text on while it comes.

OpenAI's chat completions, streamed. In-sandbox code: see `_channel`.
"""

import json
import time

from argosy import agent
from argosy._http import FAILURES, Answer, as_list, as_object, call

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SECONDS = 150  # longer than the gateway itself waits for a model
MAX_TRIES = 5
MAX_WAIT_SECONDS = 60.0
MAX_CALLS = 128  # of one message
MAX_ERROR_BYTES = 4_096
BUSY = (429, 503)
# Other words for why a model stopped are said in the log.
ENDS = ("stop", "tool_calls", "function_call", "")


class ModelFailed(Exception):
    """The model did not answer; the message is what it or the gateway said."""


class ToolCall:
    """A call that the model asks for. `arguments` is the text it made, JSON as a rule."""

    def __init__(self) -> None:
        self.id = self.name = self.arguments = ""

    def asked(self) -> "dict[str, Any]":
        """Return it as the conversation keeps it."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


class Reply:
    """A model's message, put together from what comes of it. `say`: given its text piece by piece.

    end: why it stopped; None while it has not said so.
    """

    def __init__(self, say: "Callable[[str], None]") -> None:
        self._say = say
        self.text = ""
        self.calls: list[ToolCall] = []
        self.end: str | None = None

    def take(self, chunk: "dict[str, Any]") -> None:
        """Add a chunk of a stream, or a whole answer."""
        if error := chunk.get("error"):
            raise ModelFailed(_said(error))
        for each in as_list(chunk.get("choices"))[:1]:
            choice = as_object(each)
            message = as_object(choice.get("delta") or choice.get("message"))
            self._speak(message)
            for number, part in enumerate(map(as_object, as_list(message.get("tool_calls")))):
                self._call(part.get("index", number), part)
            if choice.get("finish_reason") is not None:
                self.end = str(choice["finish_reason"])

    def message(self) -> "dict[str, Any]":
        """Return it as the conversation keeps it."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.calls:
            message["tool_calls"] = [each.asked() for each in self.calls]
        return message

    def _speak(self, message: "dict[str, Any]") -> None:
        if thought := message.get("reasoning_content") or message.get("reasoning"):
            agent.think(thought)
        text = message.get("content") or message.get("refusal")
        if isinstance(text, str) and text:
            self.text += text
            self._say(text)

    def _call(self, index: int, part: "dict[str, Any]") -> None:
        if not 0 <= index < MAX_CALLS:
            raise ModelFailed(f"The model asks for more than {MAX_CALLS} calls at once.")
        while len(self.calls) <= index:
            self.calls.append(ToolCall())
        made, function = self.calls[index], as_object(part.get("function"))
        made.id = made.id or part.get("id") or ""
        made.name += function.get("name") or ""
        made.arguments += function.get("arguments") or ""


def ask(url: str, body: "dict[str, Any]", say: "Callable[[str], None]") -> Reply:
    """Return the model's reply; asks again while it is too busy. Raises ModelFailed."""
    # The gateway counts the tokens, which providers only name where they are asked to.
    sent = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
    for tried in range(1, MAX_TRIES + 1):
        try:
            with call("POST", url, body=sent, headers=headers, seconds=SECONDS) as answer:
                if answer.status < 400:
                    return _read(answer, say)
                text, _ = answer.text(MAX_ERROR_BYTES)
        except FAILURES as error:
            raise ModelFailed(f"The model could not be asked: {_named(error)}.") from None
        why = _explained(answer.status, text)
        wait = _wait(answer, tried)
        if tried == MAX_TRIES or wait is None:
            raise ModelFailed(why)
        agent.log(f"{why} Asking again in {wait:g} s.")
        time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _read(answer: Answer, say: "Callable[[str], None]") -> Reply:
    reply = Reply(say)
    try:
        if answer.content_type == "text/event-stream":
            for line in answer.lines():
                if line.startswith(b"data:") and (data := line[5:].strip()) != b"[DONE]":
                    reply.take(as_object(json.loads(data)))
        else:
            reply.take(as_object(json.loads(b"".join(answer.pieces()))))
    except FAILURES as error:
        raise ModelFailed(f"The model's answer broke off: {_named(error)}.") from None
    except (ValueError, TypeError, AttributeError):
        raise ModelFailed("The model's answer is not one of chat completions.") from None
    if reply.end is None:
        raise ModelFailed("The model's answer broke off.")
    if reply.end not in ENDS:
        agent.log(f"The model stopped early: {reply.end}.")
    return reply


def _wait(answer: Answer, tried: int) -> "float | None":
    """Return how long to wait before the next try; None where there should be none."""
    if answer.status not in BUSY:
        return None
    try:
        wait = float(answer.retry_after)
    except ValueError:  # an HTTP date counts as not said
        if answer.status != BUSY[0]:
            return None
        wait = 2.0 ** (tried - 1)
    return max(wait, 0.0) if wait <= MAX_WAIT_SECONDS else None


def _explained(status: int, text: str) -> str:
    try:
        said = _said(json.loads(text))
    except ValueError:
        said = text.strip()
    return f"The model answered {status}: {said or 'nothing'}"


def _said(error: "Any") -> str:
    """Return the words of an error, in any of the forms that there are."""
    while told := as_object(error):
        error = told.get("error") or told.get("message") or told.get("detail") or ""
    return str(error or "")


def _named(error: BaseException) -> str:
    return str(error) or type(error).__name__
