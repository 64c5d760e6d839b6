"""Real servers on loopback, down to their sockets, and a real way out to them."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct

from tests.accepting import accepting

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer(Struct):
    """One connection. `heads`: what its server was asked so far."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heads: list[bytes]

    async def head(self) -> bytes:
        """Read the head of a request."""
        self.heads.append(await self.reader.readuntil(b"\r\n\r\n"))
        return self.heads[-1]

    async def say(self, *parts: bytes) -> None:
        """Write, no faster than it is read."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()


type Serving = Callable[[Peer], Awaitable[None]]
"""Does what a connection is to see; it is closed afterwards."""


class Listener(Struct):
    """A server. `connections`: how many were opened; `heads`: of the requests that it read."""

    port: int
    connections: int
    heads: list[bytes]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def listening(
    serve: Serving, *, hosts: Sequence[str] = ("127.0.0.1",), tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Listener]:
    """A server while the block lasts."""
    listener = Listener(0, 0, [])

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await serve(Peer(reader, writer, listener.heads))
            await writer.drain()

    async with AsyncExitStack() as stack:
        for host in hosts:
            opened = accepting(attend, host, listener.port, tls=tls)
            listener.port = await stack.enter_async_context(opened)
        yield listener


def says(*parts: bytes) -> Serving:
    """Answer the first request with these bytes, whatever they are."""

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(*parts)

    return serve


async def lasting(peer: Peer) -> None:
    """Answer one request after the other on one connection."""
    while True:
        await peer.head()
        await peer.say(OK)


async def silent(peer: Peer) -> None:
    """Read the head and answer nothing."""
    await peer.head()
    await asyncio.Event().wait()


class Authority:
    """A certificate authority of the test's own; its certificate is in `file`."""

    def __init__(self, directory: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name.from_rfc4514_string("CN=An authority of the tests")
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(*[name in (5, 6) for name in range(9)])
        made = self._certificate(self._name, self._key.public_key())
        made = made.add_extension(constraints, critical=True).add_extension(usage, critical=True)
        self._directory = directory
        self.file = directory / "authority.pem"
        self.file.write_bytes(made.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def server(self, *names: str) -> ssl.SSLContext:
        """What a server speaks TLS with that is called so."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name.from_rfc4514_string("CN=A server of the tests")
        others = x509.SubjectAlternativeName([_general(name) for name in names])
        made = self._certificate(subject, key.public_key()).add_extension(others, critical=False)
        file = self._directory / f"{names[0]}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(private + made.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        identified = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(identified, critical=False)
        )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(IPv4Address(name))
    except ValueError:
        return x509.DNSName(name)
