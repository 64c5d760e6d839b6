"""The vendors' own packages as agents use them, on a gateway's socket."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anthropic
import httpx2
import openai

from tests.workers.gateway.worlds import Agent


@asynccontextmanager
async def openai_client(agent: Agent) -> AsyncGenerator[openai.AsyncOpenAI]:
    """OpenAI's client, with what an agent finds in its environment."""
    async with _http(agent) as http:
        yield openai.AsyncOpenAI(
            base_url="http://gateway/v1",
            api_key="platform-managed",
            http_client=http,
            max_retries=0,
        )


@asynccontextmanager
async def anthropic_client(agent: Agent) -> AsyncGenerator[anthropic.AsyncAnthropic]:
    """Anthropic's client, with what an agent finds in its environment."""
    async with _http(agent) as http:
        yield anthropic.AsyncAnthropic(
            base_url="http://gateway/v1",
            api_key="platform-managed",
            http_client=http,
            max_retries=0,
        )


def _http(agent: Agent) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=agent.door.socket))
