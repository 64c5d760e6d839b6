"""Entries: what a run's transcript and a build's log are made of.

Entries are events that are only ever read as part of their stream. They have no position in the log
and take no lock; a folding event anchors their count and Merkle root (`RunAnchored`, `RunEnded`).
Their sizes are capped where they are made (`workers/harnesses/`): 16 KiB of text each.
"""

from typing import Any, Literal

from domain.catalog import Permission
from domain.decider import Event

type LogStream = Literal["stdout", "stderr", "system"]


class MessageSaid(Event, tag="run.message_said"):
    """A piece of the agent's answer: a line printed by a script, a text that a handler streamed."""

    text: str


class ThoughtSaid(Event, tag="run.thought_said"):
    """A piece of the agent's reasoning."""

    text: str


class ToolCalled(Event, tag="run.tool_called"):
    """The agent called a tool, as its own code reports it; the gateway's record is separate."""

    call_id: str
    tool: str
    input: Any = None


class ToolReturned(Event, tag="run.tool_returned"):
    """What the tool of `call_id` answered; `failed` when it did not."""

    call_id: str
    tool: str
    output: Any = None
    failed: bool = False


class LogWritten(Event, tag="run.log_written"):
    """A line that the agent wrote to `stream`, or that Argosy wrote about the run (`system`)."""

    stream: LogStream
    line: str


class FileEdited(Event, tag="run.file_edited"):
    """The agent reported that it wrote a file; `path` is relative to its working directory."""

    path: str
    diff: str = ""


class ErrorReported(Event, tag="run.error_reported"):
    """The agent's code failed: the message, and the traceback where there is one."""

    message: str
    traceback: str = ""


class UsageReported(Event, tag="run.usage_reported"):
    """What the agent says that it used."""

    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""


class ModelCalled(Event, tag="run.model_called"):
    """The gateway's record of a model call, made when it is over.

    provider: the provider document's name, empty where none was found. status: what the agent was
    answered. cost_usd: by the price list, None for a model that it lacks.
    milliseconds: from the request's head to the answer's last byte; `first_byte` to its first.
    """

    call_id: str
    provider: str
    model: str
    status: int
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    milliseconds: float = 0.0
    first_byte_milliseconds: float = 0.0
    streamed: bool = False
    error: str = ""


class ToolRequested(Event, tag="run.tool_requested"):
    """The gateway's judgement of a tool call, stored before anything is forwarded.

    payload_hash: SHA-256 of the body, hex. rule: `<policy>#<number>` that decided, from 1, or
    empty for the default. path: without the query, which may hold secrets.
    """

    call_id: str
    tool: str
    method: str
    path: str
    payload_hash: str
    decision: Permission
    rule: str = ""
    detail: str = ""


class ToolResponded(Event, tag="run.tool_responded"):
    """What came of a tool call that was forwarded. status: 0 where nobody answered; see `error`."""

    call_id: str
    tool: str
    status: int
    milliseconds: float = 0.0
    response_bytes: int = 0
    error: str = ""


type RunEntry = (
    MessageSaid
    | ThoughtSaid
    | ToolCalled
    | ToolReturned
    | LogWritten
    | FileEdited
    | ErrorReported
    | UsageReported
    | ModelCalled
    | ToolRequested
    | ToolResponded
)


class BuildLogged(Event, tag="build.logged"):
    """A line of a build's log. `step` is one of the builder's steps: plan, resolve, install…"""

    step: str
    line: str
    stream: LogStream = "system"
