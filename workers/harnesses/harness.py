"""What a harness promises: how one kind of agent is launched, and how its output is understood.

A harness is pure: it does no I/O and reads no clock, so an agent is tested by replaying a recorded
transcript, and every harness runs in every driver. The promises are tested by
`tests/contracts/test_harnesses.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from domain.entries import RunEntry
from domain.runs import Reason
from workers.images.programs import ImageProgram

# One entry's text, in bytes of UTF-8. Longer texts become several entries.
MAX_TEXT_BYTES = 16 * 1024
# What is kept of a run's output, in bytes of UTF-8.
MAX_OUTPUT_BYTES = 1024 * 1024
# What an entry counts at least towards `Reader.text_bytes`, so that a million empty lines count.
MIN_ENTRY_BYTES = 64

type Ending = Literal["completed", "failed"]
type Stream = Literal["stdout", "stderr", "channel"]


class Task(Struct, frozen=True, kw_only=True):
    """One run, as its agent is to be told.

    history, context: JSON values of the request.
    entry_point: path below the source, as `domain.sources.find_entry_point` returned it.
    system_prompt, environment: of the deployment's revision, and what the gateway adds.
    seconds: what the run may take.
    program: what a container image says is to be started; None without an image.
    python: the interpreter's path inside the sandbox, 3.11 or newer.
    python_start: what is to start it, and what that is told; empty where it starts by itself.
    base_packages: the base environment has packages of its own, which `site` finds.
    *_target: where the layers are mounted inside; empty where there is no such layer.
    working_directory: empty and writable when the program starts, and its current directory.
    """

    run_id: str
    agent_name: str = ""
    message: str
    history: Sequence[Any] = ()
    context: Mapping[str, Any] = {}
    user_id: str = ""
    conversation_id: str = ""
    attempt: int = 1
    entry_point: str
    system_prompt: str = ""
    environment: Mapping[str, str] = {}
    seconds: float = 600.0
    program: ImageProgram | None = None
    python: str
    python_start: tuple[str, ...] = ()
    base_packages: bool = False
    source_target: str = "/app"
    runtime_target: str = "/opt/argosy"
    dependencies_target: str = ""
    base_target: str = ""
    working_directory: str = "/work"


class Launch(Struct, frozen=True, kw_only=True):
    """The program to start. `stdin` is all of its standard input.

    early: it may be started ahead, with these variables alone: it reads its task and the rest of
        its environment from standard input. None: it may not.

    uses_channel: it needs one more pipe to write to, its number in ARGOSY_CHANNEL_FD.
    copies_source: it begins by copying the source into the working directory, so a file there is
        a result only if it is not a file of the source with the same digest.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    stdin: bytes = b""
    early: Mapping[str, str] | None = None
    uses_channel: bool = False
    copies_source: bool = False
    working_directory: str = "/work"


class Result(Struct, frozen=True, kw_only=True):
    """How the program's end looks to the harness.

    The caller knows better where it ended the run itself (limits, cancel) or the kernel did.

    output: the agent's answer, the first MAX_OUTPUT_BYTES of it; `output_complete` if that is all.
    extra: what the agent returned beside its answer; JSON values.
    input_tokens, output_tokens: sums of what the agent reported.
    """

    how: Ending
    reason: Reason = ""
    detail: str = ""
    output: str = ""
    output_complete: bool = True
    extra: Mapping[str, Any] = {}
    input_tokens: int = 0
    output_tokens: int = 0


class Reader(Protocol):
    """Understands one program's output. Never raises, whatever the program writes.

    It holds a bounded amount of memory, however much it is fed. The texts of all MessageSaid
    entries, one after the other, are what the agent said: nothing is to be put between them.
    """

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of text so far, whatever was told counting MIN_ENTRY_BYTES or more.

        For the caller's Limits.output_kb: it bounds the work as well as the entries.
        """
        ...

    def feed(self, stream: Stream, data: bytes) -> list[RunEntry]:
        """Return the entries that `data`, cut anywhere, completes; in order within its stream."""
        ...

    def flush(self) -> list[RunEntry]:
        """Return what was said but has not ended its line. To be called when nothing came a while.

        Harmless at any time: the text is only cut at another place.
        """
        ...

    def finish(self, *, code: int | None, signal: int | None) -> tuple[list[RunEntry], Result]:
        """Return the last entries and the result. To be called once, after the last feed.

        code: the exit status, None if a signal ended the program.
        """
        ...


class Harness(Protocol):
    """One kind of agent."""

    name: str

    def launch(self, task: Task) -> Launch:
        """Return the program to start for a task."""
        ...

    def reader(self, task: Task) -> Reader:
        """Return a reader for the output of one program launched for `task`."""
        ...
