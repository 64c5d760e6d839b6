"""What an agent's runtime reports of itself to GOVERNANCE_URL (RunAgents contract §6.3, §6.5)."""

from typing import Any

import msgspec
from msgspec import Struct

from domain.entries import ToolCalled, ToolReturned
from domain.errors import LimitReached, Malformed, NotFound, TooLarge
from workers.gateway.exchange import Exchange
from workers.gateway.session import Session
from workers.harnesses.channels import MAX_NAME, bounded
from workers.harnesses.harness import MIN_ENTRY_BYTES

MAX_REPORT_BYTES = 4 << 20
MAX_CHECKPOINTS = 16
MAX_CHECKPOINTS_BYTES = 1 << 20


class ToolResult(Struct, frozen=True, kw_only=True):
    """A tool call that is over, as the runtime saw it. `arguments`, `result`: JSON, if they are."""

    tool_call_id: str = ""
    function_name: str = ""
    tool_id: str = ""
    arguments: str = ""
    result: str = ""


class Checkpoint(Struct, frozen=True, kw_only=True):
    """What a runtime would go on from after an approval; only its id is ours."""

    action_id: str


class Reports:
    """The reports of one sandbox. Tool results count towards the run's text, as its output does."""

    def __init__(self, session: Session) -> None:
        self._run_id = session.run_id
        self._left = session.settings.limits.output_kb * 1024
        self._checkpoints: dict[str, bytes] = {}

    async def take_tool_result(self, session: Session, exchange: Exchange, *, run: str) -> None:
        """Write a call down in the transcript: the agent's own report, beside our record."""
        self._check(run)
        report = _decoded(await exchange.body(MAX_REPORT_BYTES), ToolResult)
        call_id = report.tool_call_id[:MAX_NAME]
        tool = (report.function_name or report.tool_id)[:MAX_NAME]
        given, made = bounded(_value(report.arguments)), bounded(_value(report.result))
        self._left -= len(msgspec.json.encode([given, made])) + 2 * MIN_ENTRY_BYTES
        if self._left < 0:
            raise LimitReached("This run may not report more text.")
        await session.journal.store(
            [
                ToolCalled(call_id=call_id, tool=tool, input=given),
                ToolReturned(call_id=call_id, tool=tool, output=made),
            ]
        )
        await exchange.respond_json(201, {"status": "recorded"})

    async def keep_checkpoint(self, session: Session, exchange: Exchange, *, run: str) -> None:
        """Keep a checkpoint for as long as the sandbox lives: nothing is resumed later."""
        del session
        self._check(run)
        body = await exchange.body(MAX_CHECKPOINTS_BYTES)
        id = _decoded(body, Checkpoint).action_id
        others = {name: kept for name, kept in self._checkpoints.items() if name != id}
        size = sum(map(len, others.values())) + len(body)
        if len(others) >= MAX_CHECKPOINTS or size > MAX_CHECKPOINTS_BYTES:
            raise TooLarge(
                f"A run keeps at most {MAX_CHECKPOINTS} checkpoints of together "
                f"{MAX_CHECKPOINTS_BYTES} bytes."
            )
        self._checkpoints[id] = body
        await exchange.respond_json(201, {"id": id})

    async def show_checkpoint(
        self, session: Session, exchange: Exchange, *, run: str, id: str
    ) -> None:
        """Answer a checkpoint as it was sent."""
        del session
        self._check(run)
        if id not in self._checkpoints:
            raise NotFound(f"There is no checkpoint {id}.")
        await exchange.respond(200, self._checkpoints[id])

    def _check(self, run: str) -> None:
        if run != self._run_id:
            raise NotFound(f"This is the gateway of another run than {run}.")


def _decoded[T](body: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Malformed(f"The body cannot be read: {error}") from None


def _value(text: str) -> Any:
    """Return the JSON value that a text is, or the text."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return text
