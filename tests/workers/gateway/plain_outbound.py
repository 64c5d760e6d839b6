"""Calls out without a guard, until there is a real one."""

import io
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from workers.gateway.outbound import Answer, OutboundFailed


class PlainAnswer:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        headers: dict[str, str] = {}
        for name, value in response.headers.items():
            lower = name.lower()
            headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
        self.headers: Mapping[str, str] = headers

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OutboundFailed(f"{type(error).__name__}: {error}") from None

    async def body(self, limit: int) -> bytes:
        whole = b"".join([chunk async for chunk in self.chunks()])
        if len(whole) > limit:
            raise OutboundFailed("too much")
        return whole


class PlainOutbound:
    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        seconds: float = 120.0,
        idle_seconds: float = 60.0,
    ) -> AsyncGenerator[Answer]:
        timeout = aiohttp.ClientTimeout(total=seconds, sock_read=idle_seconds)
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=io.BytesIO(body) if body else None,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                yield PlainAnswer(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OutboundFailed(f"{type(error).__name__}: {error}") from None
