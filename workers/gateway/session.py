"""What the gateway knows of the run whose socket a call came through."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field
from opentelemetry.context import Context

from adapters.vault import Vault
from domain.catalog import ModelProvider, Policy, Tool
from domain.deployments import Settings
from domain.entries import RunEntry
from domain.runs import Reason
from workers.gateway.exchange import Exchange
from workers.gateway.oauth import Tokens
from workers.gateway.outbound import Outbound


class Journal(Protocol):
    """The run's transcript."""

    def add(self, entries: Sequence[RunEntry]) -> None:
        """Take entries; they are stored soon."""
        ...

    async def store(self, entries: Sequence[RunEntry]) -> None:
        """Take entries and return when they are stored: nothing may be forwarded before."""
        ...


class Documents(Protocol):
    """A workspace's documents as they are now: a call is judged by what holds when it is made."""

    async def tool(self, name: str) -> Tool | None:
        """Return a tool by name."""
        ...

    async def policies(self, names: Sequence[str]) -> Mapping[str, Policy]:
        """Return the policies that exist, by name, in the order of `names`."""
        ...

    async def model_providers(self) -> Mapping[str, ModelProvider]:
        """Return all model providers by name, in the order of their names."""
        ...


class Session(Struct, frozen=True, kw_only=True):
    """One attempt of one run: who calls, what it may use, and where it is written down.

    end_run: ends the run with a reason and a sentence (policy_denied, budget_exhausted); the first
    counts. What the agent still does meanwhile changes nothing of that.
    tokens: what tools were unlocked with, to be shared by all runs of a host.
    trace: what its calls are a part of.
    """

    run_id: str
    workspace_id: str
    agent_name: str
    user_id: str
    settings: Settings
    documents: Documents
    journal: Journal
    vault: Vault
    outbound: Outbound
    end_run: Callable[[Reason, str], None]
    tokens: Tokens = field(default_factory=Tokens)
    trace: Context = field(default_factory=Context)


type Handler = Callable[[Session, Exchange], Awaitable[None]]
"""Answers a call of the paths it is given; raises ArgosyError for what it refuses."""
