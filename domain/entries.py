"""Entries: what a run's transcript and a build's log are made of.

Entries are events that are only ever read as part of their stream. They have no position in the log
and take no lock; a folding event anchors their count and Merkle root (`RunAnchored`, `RunEnded`).
Their sizes are capped where they are made (`workers/harnesses/`): 16 KiB of text each.
"""

from typing import Any, Literal

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


type RunEntry = (
    MessageSaid
    | ThoughtSaid
    | ToolCalled
    | ToolReturned
    | LogWritten
    | FileEdited
    | ErrorReported
    | UsageReported
)


class BuildLogged(Event, tag="build.logged"):
    """A line of a build's log. `step` is one of the builder's steps: plan, resolve, install…"""

    step: str
    line: str
    stream: LogStream = "system"
