"""Read what a program writes to its output and channel into a run's entries and its result.

Everything it reads may be an attacker's: it never raises, and what it keeps is bounded.
"""

import signal as signals
from collections.abc import Mapping
from typing import Any

import msgspec

from domain import entries
from domain.entries import LogStream, RunEntry
from domain.runs import Reason
from workers.harnesses import channels
from workers.harnesses.harness import (
    MAX_OUTPUT_BYTES,
    MIN_ENTRY_BYTES,
    Ending,
    Result,
    Stream,
)
from workers.harnesses.lines import (
    BURST_LINES,
    ChannelLines,
    Kept,
    Lines,
    Piece,
    Speech,
    joined,
    split_text,
)

# Held of standard output before it is known what it is; the program says so first.
MAX_EARLY_BYTES = 256 * 1024
MAX_COMPLAINTS = 10
MAX_NONSENSE = 1_000  # lines; after them the channel is not read any more
MAX_DETAIL = 2_000
MAX_EXTRA_BYTES = 64 * 1024


class TranscriptReader:
    """Understands one program's output; see `harness.Reader`.

    reasons: what exit statuses mean, other than that the program failed.
    """

    def __init__(self, reasons: Mapping[int, Reason] | None = None) -> None:
        self._reasons = reasons or {}
        self._lines: dict[LogStream, Lines] = {"stdout": Lines(), "stderr": Lines()}
        self._channel = ChannelLines(channels.MAX_LINE_BYTES)
        self._speech = Speech()
        self._prints = Speech()
        self._stdout_says: bool | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._said = Kept(MAX_OUTPUT_BYTES)
        self._answered = Kept(MAX_OUTPUT_BYTES)
        self._printed = Kept(MAX_OUTPUT_BYTES)
        self._answer: channels.Answer | None = None
        self._error = ""
        self._failure = ""
        self._last_log = ""
        self._complaints = 0
        self._nonsense = 0
        self._input_tokens = 0
        self._output_tokens = 0
        self._text_bytes = 0

    @property
    def text_bytes(self) -> int:
        return self._text_bytes

    def feed(self, stream: Stream, data: bytes) -> list[RunEntry]:
        match stream:
            case "channel":
                found = self._heard(data)
            case "stdout" if self._stdout_says is None:
                found = self._keep_early(data)
            case "stdout" | "stderr":
                found = self._written(stream, self._lines[stream].feed(data))
        return self._counted(found)

    def flush(self) -> list[RunEntry]:
        if not self._stdout_says:
            return []
        return self._counted(self._written("stdout", self._lines["stdout"].flush()))

    def finish(self, *, code: int | None, signal: int | None) -> tuple[list[RunEntry], Result]:
        started = self._stdout_says is not None
        found = [] if started else self._begin(says=False)
        for stream in ("stdout", "stderr"):
            found += self._written(stream, self._lines[stream].finish())
        if self._channel.finish():
            found += self._complain("half a line")
        return self._counted(found), self._result(code, signal, started=started)

    def _heard(self, data: bytes) -> list[RunEntry]:
        if self._nonsense > MAX_NONSENSE:
            self._text_bytes += len(data)
            return []
        found: list[RunEntry] = []
        for line in self._channel.feed(data):
            read = self._read(channels.read_line(line))
            found += read
            if not read:  # it was work all the same
                self._text_bytes += MIN_ENTRY_BYTES
        if dropped := self._channel.take_dropped():
            self._text_bytes += dropped * MIN_ENTRY_BYTES
            found += self._complain("lines that are empty or too long", dropped)
        return found

    def _keep_early(self, data: bytes) -> list[RunEntry]:
        """Hold standard output until the program has said, on the other pipe, what it is."""
        self._early.append(data)
        self._early_bytes += len(data)
        return self._begin(says=False) if self._early_bytes > MAX_EARLY_BYTES else []

    def _begin(self, *, says: bool) -> list[RunEntry]:
        self._stdout_says = says
        data = b"".join(self._early)
        self._early.clear()
        return self._written("stdout", self._lines["stdout"].feed(data)) if data else []

    def _written(self, stream: LogStream, pieces: list[Piece]) -> list[RunEntry]:
        if stream == "stdout" and self._stdout_says:
            return self._say(self._speech.say(pieces))
        if stream == "stdout":
            for text in self._prints.say(pieces):
                self._printed.add(text)
        else:
            words = (piece.text.strip() for piece in reversed(pieces))
            self._last_log = next(filter(None, words), self._last_log)
        return [entries.LogWritten(stream=stream, line=piece.text) for piece in pieces]

    def _say(self, texts: list[str]) -> list[RunEntry]:
        for text in texts:
            self._said.add(text)
        return [entries.MessageSaid(text=text) for text in texts]

    def _read(self, line: channels.ChannelLine | None) -> list[RunEntry]:
        match line:
            case channels.Message(text=text, answer=answer):
                (self._answered if answer else self._said).add(text)
                return [entries.MessageSaid(text=part) for part in split_text(text)]
            case channels.Thought(text=text):
                return [entries.ThoughtSaid(text=part) for part in split_text(text)]
            case channels.Log(text=text):
                parts = split_text(text)
                return [entries.LogWritten(stream="stderr", line=part) for part in parts]
            case channels.ToolCall() | channels.ToolResult() | channels.FileEdit():
                return self._acted(line)
            case channels.Usage():
                return self._used(line)
            case channels.Error() | channels.Failure():
                return self._failed(line)
            case channels.Start() if self._stdout_says is None:
                return self._begin(says=line.stdout == "say")
            case channels.Answer() if self._answer is None:
                self._answer = line
                return []
            case channels.Turn():
                self._said = Kept(MAX_OUTPUT_BYTES)
                return []
            case None:
                return self._complain("something that cannot be read")
            case channels.Start() | channels.Answer():
                return self._complain("something twice that is said once")

    def _acted(
        self, line: channels.ToolCall | channels.ToolResult | channels.FileEdit
    ) -> list[RunEntry]:
        match line:
            case channels.ToolCall(call_id=call_id, tool=tool, input=given):
                call_id, tool = call_id[: channels.MAX_NAME], tool[: channels.MAX_NAME]
                given = channels.bounded(given)
                return [entries.ToolCalled(call_id=call_id, tool=tool, input=given)]
            case channels.ToolResult(call_id=call_id, tool=tool, output=output, failed=failed):
                call_id, tool = call_id[: channels.MAX_NAME], tool[: channels.MAX_NAME]
                output = channels.bounded(output)
                return [
                    entries.ToolReturned(call_id=call_id, tool=tool, output=output, failed=failed)
                ]
            case channels.FileEdit(path=path, diff=diff):
                if not channels.is_inside(path):
                    return self._complain("a path outside the working directory")
                return [entries.FileEdited(path=path, diff=first_text(diff))]

    def _used(self, line: channels.Usage) -> list[RunEntry]:
        given = min(max(line.input_tokens, 0), channels.MAX_TOKENS)
        made = min(max(line.output_tokens, 0), channels.MAX_TOKENS)
        self._input_tokens = min(self._input_tokens + given, channels.MAX_TOKENS)
        self._output_tokens = min(self._output_tokens + made, channels.MAX_TOKENS)
        model = line.model[: channels.MAX_NAME]
        return [entries.UsageReported(input_tokens=given, output_tokens=made, model=model)]

    def _failed(self, line: channels.Error | channels.Failure) -> list[RunEntry]:
        message, traceback = first_text(line.message), first_text(line.traceback)
        if isinstance(line, channels.Failure):
            self._failure = message
        self._error = message
        return [entries.ErrorReported(message=message, traceback=traceback)]

    def _complain(self, what: str, times: int = 1) -> list[RunEntry]:
        """Say in the log, a few times, that the channel had what no module of ours writes."""
        self._nonsense += times
        self._complaints += 1
        if self._complaints > MAX_COMPLAINTS:
            return []
        line = f"The channel of the agent's program had {what}."
        return [entries.LogWritten(stream="system", line=line)]

    def _counted(self, found: list[RunEntry]) -> list[RunEntry]:
        self._text_bytes += sum(max(text_bytes(entry), MIN_ENTRY_BYTES) for entry in found)
        return joined(found) if len(found) > BURST_LINES else found

    def _result(self, code: int | None, signal: int | None, *, started: bool) -> Result:
        output = self._output()
        how, reason, detail = self._ending(code, signal, started=started)
        return Result(
            how=how,
            reason=reason,
            detail=detail[:MAX_DETAIL],
            output=output.text(),
            output_complete=output.complete,
            extra=self._extra(),
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
        )

    def _extra(self) -> dict[str, Any]:
        extra = self._answer.extra if self._answer else {}
        return extra if channels.bounded(extra, MAX_EXTRA_BYTES) is extra else {}

    def _output(self) -> Kept:
        match self._answer:
            case channels.Answer(from_="stdout") if not self._stdout_says:
                return self._printed
            case channels.Answer(from_="answer"):
                return self._answered
            case _:
                return self._said

    def _ending(
        self, code: int | None, signal: int | None, *, started: bool
    ) -> tuple[Ending, Reason, str]:
        if self._failure:
            return "failed", "harness_error", self._failure
        if code is None:
            return "failed", "killed_by_signal", f"The program was ended by {_named(signal)}."
        why = self._error or self._last_log.rpartition("\n")[2]
        if not started:
            said = f": {why}" if why else "."
            return "failed", "harness_error", f"The program did not start (status {code}){said}"
        if code in self._reasons:
            return "failed", self._reasons[code], why or f"The program ended with status {code}."
        if code != 0:
            said = f": {why}" if why else "."
            return "failed", "exit_nonzero", f"The program exited with status {code}{said}"
        return "completed", "", ""


def first_text(text: str) -> str:
    """Return as much of a text as one entry holds."""
    return next(iter(split_text(text)), "")


def text_bytes(entry: RunEntry) -> int:
    """Return the size of an entry's text in UTF-8; of values, that of their JSON."""
    match entry:
        case entries.MessageSaid(text=text) | entries.ThoughtSaid(text=text):
            return len(text.encode())
        case entries.LogWritten(line=line):
            return len(line.encode())
        case entries.ToolCalled(input=value) | entries.ToolReturned(output=value):
            return len(msgspec.json.encode(value))
        case entries.FileEdited(path=path, diff=diff):
            return len(path.encode()) + len(diff.encode())
        case entries.ErrorReported(message=message, traceback=traceback):
            return len(message.encode()) + len(traceback.encode())
        case entries.UsageReported():
            return 0
        case entries.ModelCalled() | entries.ToolRequested() | entries.ToolResponded():
            return 0  # the gateway's own words


def _named(signal: int | None) -> str:
    try:
        return signals.Signals(signal or 0).name
    except ValueError:
        return f"signal {signal}" if signal else "an unknown signal"
