"""A real way out to loopback, and name servers that say what a test wants."""

import ipaddress
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiohttp.abc import AbstractResolver, ResolveResult

from adapters.settings import Settings
from workers.gateway.http_outbound import HttpOutbound, open_http_outbound
from workers.gateway.outbound import Outbound

LOOPBACK = "127.0.0.0/8"
MEGABYTE = 1 << 20


class Names(AbstractResolver):
    """A name server that gives each name its answers in turn, the last one for ever."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {name: list(each) for name, each in answers.items()}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        answers = self._answers[host.lower().rstrip(".")]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [self._result(host, port, address) for address in addresses]

    async def close(self) -> None:
        pass

    def _result(self, host: str, port: int, address: str) -> ResolveResult:
        family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
        return ResolveResult(
            hostname=host, host=address, port=port, family=family, proto=0, flags=0
        )


@asynccontextmanager
async def opened(
    allow: str = LOOPBACK, names: AbstractResolver | None = None
) -> AsyncGenerator[HttpOutbound]:
    """A pool that may reach what is allowed."""
    async with open_http_outbound(Settings(outbound_allow=allow), resolver=names) as outbound:
        yield outbound


async def get(
    outbound: Outbound, url: str, *, seconds: float = 30.0, idle_seconds: float = 30.0
) -> bytes:
    """Return the whole answer to a request."""
    async with outbound.request(
        "GET", url, headers={}, seconds=seconds, idle_seconds=idle_seconds
    ) as answer:
        assert answer.status == 200
        return await answer.body(MEGABYTE)
