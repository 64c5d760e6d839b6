"""An agent's side of the gateway's tools: a run with a transcript in the log, behind a socket."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
from msgspec import Struct
from msgspec.structs import replace

from adapters.vault import Vault
from domain.catalog import ModelProvider, Policy, Rule, Tool
from domain.deployments import Settings
from domain.entries import ToolRequested, ToolResponded
from domain.handling import Unit
from domain.limits import Limits
from domain.merkle import Frontier
from domain.runs import RUN, AnchorRun, Reason
from tests.workers.gateway.outbounds import opened
from tests.workers.gateway.services import Answering, Service, serving
from tests.workers.gateways import short_directory
from tests.workers.worlds import WORKSPACE, World
from workers.claims import claim_run
from workers.gateway.journals import RunJournal
from workers.gateway.oauth import Tokens
from workers.gateway.server import SOCKET, Gateway
from workers.gateway.session import Session
from workers.histories import History
from workers.transcripts import Transcript

ALLOW_ALL = Policy(rules=[Rule(permission="allow", resource="*")])


type Ends = list[tuple[Reason, str]]


class Shelf(Struct):
    """Documents that a test changes as it likes."""

    tools: dict[str, Tool]
    bound: dict[str, Policy]

    async def tool(self, name: str) -> Tool | None:
        return self.tools.get(name)

    async def policies(self, names: Sequence[str]) -> Mapping[str, Policy]:
        return {name: self.bound[name] for name in names if name in self.bound}

    async def model_providers(self) -> Mapping[str, ModelProvider]:
        return {}


class Door:
    """What a test has of an agent's run."""

    def __init__(
        self, world: World, session: Session, stream: str, socket: Path, ends: Ends
    ) -> None:
        self._world = world
        self.stream = stream
        self.session = session
        self.socket = socket
        self.ends = ends
        transport = httpx.AsyncHTTPTransport(uds=str(socket))
        self.agent = httpx.AsyncClient(transport=transport, base_url="http://gateway/tools")

    @property
    def journal(self) -> RunJournal:
        """What the gateway writes into."""
        return cast("RunJournal", self.session.journal)

    @property
    def shelf(self) -> Shelf:
        """The workspace's documents."""
        return cast("Shelf", self.session.documents)

    async def entries(self) -> list[Any]:
        """Return the run's entries, all of them stored."""
        await self.journal.store([])
        return await self.stored()

    async def stored(self) -> list[Any]:
        """Return those that are stored by now."""
        history = await self._world.services.store.read(self.stream, limit=100_000)
        return [each.event for each in history if each.position is None]

    async def requested(self) -> ToolRequested:
        """Return the only judgement."""
        (found,) = [each for each in await self.entries() if isinstance(each, ToolRequested)]
        return found

    async def responded(self) -> ToolResponded:
        """Return what came of the only call."""
        (found,) = [each for each in await self.entries() if isinstance(each, ToolResponded)]
        return found

    async def canaries(self, secret: str) -> list[bytes]:
        """Return what of the run's stream holds a secret."""
        history = await self._world.services.store.read(self.stream, limit=100_000)
        return [each.data for each in history if secret.encode() in each.data]


@asynccontextmanager
async def open_door(
    world: World,
    *,
    tools: Mapping[str, Tool],
    policies: Mapping[str, Policy] | None = None,
    bound: Sequence[str] | None = None,
    user_id: str = "",
    limits: Limits | None = None,
    tokens: Tokens | None = None,
    vault: Vault | None = None,
) -> AsyncGenerator[Door]:
    """A run that may use `tools`, bound to `policies` unless `bound` names others."""
    policies = {"all": ALLOW_ALL} if policies is None else policies
    await world.deploy()
    run_id = await world.request()
    claim = await claim_run(world.services, run_id, "somebody")
    assert claim is not None

    async def anchor(unit: Unit, frontier: Frontier) -> None:
        command = AnchorRun(run_id=run_id, entries=frontier.count, entries_root=frontier.root())
        await unit.decide(RUN, run_id, command, attempt=1)

    transcript = Transcript(
        world.services.store,
        claim.stream,
        attempt=1,
        history=History(),
        meta=world.meta,
        anchor=anchor,
    )
    ends: Ends = []
    async with transcript, opened() as outbound:
        session = Session(
            run_id=run_id,
            workspace_id=WORKSPACE,
            agent_name="echo",
            user_id=user_id,
            settings=Settings(
                required_tools=list(tools),
                policies=list(policies) if bound is None else list(bound),
                limits=limits or Limits(),
            ),
            documents=Shelf(dict(tools), dict(policies)),
            journal=RunJournal(transcript),
            vault=vault or world.services.vault,
            outbound=outbound,
            end_run=lambda reason, detail: ends.append((reason, detail)),
            tokens=tokens or Tokens(),
        )
        with short_directory() as directory:
            async with Gateway().open(session, directory, room=transcript.room):
                door = Door(world, session, claim.stream, directory / SOCKET, ends)
                async with door.agent:
                    yield door


@asynccontextmanager
async def web(
    world: World, answering: Answering, **options: Any
) -> AsyncGenerator[tuple[Service, Door]]:
    """A run that may use one tool, `web`, which answers as said; `options` of Tool."""
    async with (
        serving(answering) as service,
        open_door(world, tools={"web": Tool(base_url=service.url, **options)}) as door,
    ):
        yield service, door


async def lock(door: Door, secret: str, name: str = "web") -> str:
    """Put a secret into the vault and its reference, which is returned, into a tool."""
    reference = await door.session.vault.put(WORKSPACE, secret)
    tools = door.shelf.tools
    tools[name] = replace(tools[name], credential=reference)
    return reference
