"""The gateway's part of a run: its socket, and what it is told of the run."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from adapters.scratch import disk_work
from adapters.tracing import here
from adapters.wiring import Services
from domain import deployments
from domain.runs import RunRequested, Usage
from workers.claims import Claim
from workers.gateway.documents import StoredDocuments
from workers.gateway.http_outbound import open_http_outbound
from workers.gateway.journals import RunJournal
from workers.gateway.oauth import Tokens
from workers.gateway.outbound import Outbound
from workers.gateway.server import Gateway
from workers.gateway.session import Session
from workers.pumps import Halt
from workers.transcripts import Transcript


class Door(Struct, frozen=True):
    """One run's way out."""

    halt: Halt
    journal: RunJournal

    def usage(self, reported: Usage) -> Usage:
        """Return what the run used: the gateway's figures if it called models through it."""
        if not self.journal.model_calls:
            return reported
        return replace(
            reported,
            input_tokens=self.journal.input_tokens,
            output_tokens=self.journal.output_tokens,
        )


class Doors:
    """What the runs of one host share of their ways out."""

    def __init__(self, services: Services, outbound: Outbound) -> None:
        self._services = services
        self._outbound = outbound
        self._gateway = Gateway()
        self._tokens = Tokens()

    @asynccontextmanager
    async def open(
        self,
        claim: Claim[RunRequested],
        settings: deployments.Settings,
        transcript: Transcript,
        directory: Path,
    ) -> AsyncGenerator[Door]:
        """Open a run's door; on leaving, calls that are under way are cancelled and written down.

        directory: what its sandbox finds at /run/argosy.
        Raises Unavailable where the disk fails.
        """
        request = claim.request
        halt, journal = Halt(), RunJournal(transcript)
        session = Session(
            run_id=request.run_id,
            workspace_id=request.workspace_id,
            agent_name=request.agent_name,
            user_id=request.user_id,
            settings=settings,
            documents=StoredDocuments(self._services.store, request.workspace_id),
            journal=journal,
            vault=self._services.vault,
            outbound=self._outbound,
            end_run=halt.ask,
            tokens=self._tokens,
            trace=here(),
        )
        async with AsyncExitStack() as stack:
            stack.callback(journal.close)
            with disk_work("Making the gateway's socket"):
                opened = self._gateway.open(session, directory, room=transcript.room)
                await stack.enter_async_context(opened)
            yield Door(halt, journal)


@asynccontextmanager
async def open_doors(services: Services) -> AsyncGenerator[Doors]:
    """Open what runs need to get out. Raises Invalid for a setting."""
    async with open_http_outbound(services.settings) as outbound:
        yield Doors(services, outbound)
