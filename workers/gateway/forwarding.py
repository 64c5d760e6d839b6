"""A tool call on its way: unlocked, sent, its answer streamed back, and what came of it recorded.

An answer is passed on part by part, no faster than the agent reads it. One that breaks off breaks
the agent's connection too, so that half of it is never taken for all.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import quote, unquote_plus

from msgspec import Struct
from opentelemetry.trace import SpanKind

from adapters.tracing import past
from domain.catalog import Permission, Tool
from domain.entries import ToolResponded
from domain.errors import ArgosyError
from domain.policy import Call
from workers.gateway.credentials import Credential, unlock
from workers.gateway.exchange import AgentGone, Exchange
from workers.gateway.masks import Mask
from workers.gateway.outbound import Answer, OutboundFailed, OutboundRefused
from workers.gateway.session import Session
from workers.gateway.tool_headers import answer_headers, request_headers

# Until the answer begins, and between two parts of it. In all it may take as long as the run may.
HEAD_SECONDS = 120.0
IDLE_SECONDS = 120.0

MAX_ERROR_CHARACTERS = 2000


class ToolUnreachable(ArgosyError):
    """The tool could not be called, or what it answered could not be passed on."""

    type = "tool-unreachable"
    title = "The tool could not be reached"
    status = 502


class ToolTimedOut(ArgosyError):
    """The tool did not begin to answer in time. The same call may work later."""

    type = "tool-timed-out"
    title = "The tool is too slow"
    status = 504


class Sent(Struct, frozen=True, kw_only=True):
    """What is sent, but for the credential."""

    call_id: str
    call: Call
    tool: Tool
    body: bytes


class Record:
    """The record of a call that was allowed, written once."""

    def __init__(self, session: Session, call_id: str, tool: str) -> None:
        self._session = session
        self._call_id = call_id
        self._tool = tool
        self._began = time.monotonic()
        self._written = False
        self.status = 0
        self.bytes = 0
        self.error = ""

    def write(self) -> None:
        """Write it down unless it was."""
        if self._written:
            return
        self._written = True
        responded = ToolResponded(
            call_id=self._call_id,
            tool=self._tool,
            status=self.status,
            milliseconds=round((time.monotonic() - self._began) * 1000, 3),
            response_bytes=self.bytes,
            error=self.error[:MAX_ERROR_CHARACTERS],
        )
        self._session.journal.add([responded])
        past_tool_call(
            self._session,
            responded.tool,
            responded.call_id,
            "allow",
            responded.milliseconds / 1000,
            error=_error(responded),
            status=responded.status,
        )


def past_tool_call(
    session: Session,
    tool: str,
    call_id: str,
    decision: Permission,
    seconds: float = 0.0,
    *,
    status: int = 0,
    error: str = "",
) -> None:
    """Put a call that is over into the run's trace."""
    past(
        f"execute_tool {tool}",
        seconds,
        within=session.trace,
        kind=SpanKind.CLIENT,
        error=error,
        attributes={
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.call.id": call_id,
            "argosy.tool.decision": decision,
            "http.response.status_code": status,
        },
    )


def _error(responded: ToolResponded) -> str:
    """Return why it failed in a word; what the error says may be anything."""
    if responded.status >= 400:
        return str(responded.status)
    return "interrupted" if responded.error else ""


async def forward(session: Session, exchange: Exchange, sent: Sent, record: Record) -> None:
    """Answer with what the tool answers; the record says how that went.

    Raises CredentialUnavailable, ToolUnreachable and ToolTimedOut while nothing was answered yet.
    """
    try:
        await exchange.attended(_pass_on(session, exchange, sent, record))
    except ArgosyError as failure:
        record.error = failure.detail
        if not exchange.started:
            raise
    except AgentGone:
        record.error = "The agent hung up before it had the whole answer."
        raise
    except asyncio.CancelledError:
        record.error = "The run ended before the whole answer was there."
        raise
    finally:
        record.write()


async def _pass_on(session: Session, exchange: Exchange, sent: Sent, record: Record) -> None:
    credential = await unlock(session, sent.call.tool, sent.tool)
    async with _asked(session, exchange, sent, credential) as answer:
        if answer.status != 401 or sent.tool.auth_type != "OAuth2":
            await _stream(exchange, answer, credential, record)
            return
    # The token may have been revoked before its time: once is tried with another.
    credential = await unlock(session, sent.call.tool, sent.tool, stale=credential.secret)
    async with _asked(session, exchange, sent, credential) as answer:
        await _stream(exchange, answer, credential, record)


@asynccontextmanager
async def _asked(
    session: Session, exchange: Exchange, sent: Sent, credential: Credential
) -> AsyncGenerator[Answer]:
    """Yield the tool's answer once it begins; its failures name the tool, and no secret."""
    name, most = sent.call.tool, float(session.settings.limits.seconds)
    head_seconds = min(HEAD_SECONDS, most)
    headers = request_headers(
        exchange.headers,
        run_id=session.run_id,
        user_id=session.user_id,
        request_id=sent.call_id,
        credential=credential,
    )
    opened = session.outbound.request(
        sent.call.method,
        sent.call.address.url + _query(exchange.query, credential),
        headers=headers,
        body=sent.body,
        seconds=head_seconds + most,
        idle_seconds=IDLE_SECONDS + 1,  # so that a late head is seen by us, below
    )
    try:
        async with asyncio.timeout(head_seconds) as limit, opened as answer:
            limit.reschedule(None)
            yield answer
    except TimeoutError:
        raise ToolTimedOut(
            f"Tool {name} did not begin to answer within {head_seconds:g} s."
        ) from None
    except (OutboundRefused, OutboundFailed) as failure:
        detail = Mask(credential.secret).text(failure.detail)
        raise ToolUnreachable(f"Tool {name}: {detail}") from None


async def _stream(
    exchange: Exchange, answer: Answer, credential: Credential, record: Record
) -> None:
    record.status = answer.status
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if credential.secret and encoding != "identity":
        raise ToolUnreachable(
            f"The tool answered in the encoding {encoding!r}, which it was not asked for, and in "
            "which its credential could not be hidden."
        )
    mask = Mask(credential.secret)
    headers = answer_headers(answer.headers, answer.status, credential, mask)
    await exchange.start(answer.status, headers)
    async for chunk in answer.chunks():
        await _send(exchange, mask.feed(chunk), record)
    await _send(exchange, mask.close(), record)
    record.write()
    await exchange.end()


async def _send(exchange: Exchange, data: bytes, record: Record) -> None:
    if data:
        await exchange.send(data)
        record.bytes += len(data)


def _query(query: str, credential: Credential) -> str:
    """Return the query to send: the agent's, without what could be taken for the credential."""
    parts = [quote(query.encode("latin-1"), safe=_IN_QUERIES)] if query else []
    if credential.parameter:
        name, value = credential.parameter
        kept = [part for part in "&".join(parts).split("&") if part and not _names(part, name)]
        parts = [*kept, f"{quote(name, safe='')}={value}"]
    return f"?{'&'.join(parts)}" if parts else ""


_IN_QUERIES = re.sub(r"[\"#<>\\^`{|}]", "", "".join(map(chr, range(0x21, 0x7F))))


def _names(part: str, name: str) -> bool:
    """Say whether a part of a query names a parameter, to servers that divide at `;` too."""
    names = (unquote_plus(piece.partition("=")[0]) for piece in part.split(";"))
    return any(each.strip().casefold() == name.casefold() for each in names)
