"""Calls out: whom they reach, and what they send."""

import asyncio
import socket
from pathlib import Path

import pytest

from adapters.settings import Settings
from domain.errors import Invalid
from tests.workers.gateway.listeners import OK, Authority, Peer, lasting, listening, says
from tests.workers.gateway.outbounds import LOOPBACK, MEGABYTE, Names, get, opened
from workers.gateway.http_outbound import open_http_outbound
from workers.gateway.outbound import OutboundFailed, OutboundRefused

CANARY = "canary-3b9f"


# -- whom they reach


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1"),
        *("localhost", "localhost.", "LOCALHOST", "127.0.0.1.", "0.0.0.0", "0", "127.0.0.2"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[::]"),
        *("[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[::1%25lo]"),
    ],
)
async def test_this_machine_is_not_reached_however_it_is_spelled(host: str) -> None:
    async with listening(lasting, hosts=("0.0.0.0", "::1")) as listener, opened("") as outbound:
        with pytest.raises((OutboundRefused, OutboundFailed)) as refused:
            await get(outbound, f"http://{host}:{listener.port}/")

    assert listener.connections == 0
    assert isinstance(refused.value, OutboundRefused) or not _resolves(host)


def _resolves(host: str) -> bool:
    """Whether the system knows an address by this name; else there is nothing to refuse."""
    try:
        return bool(socket.getaddrinfo(host.strip("[]"), 80))
    except OSError:
        return False


async def test_a_name_that_changes_its_address_is_judged_each_time() -> None:
    """A name server that first gives a good address and then ours gains nothing by it."""
    names = Names({"rebinding.example": [["127.0.0.2"], ["127.0.0.1"]]})
    async with (
        listening(says(OK), hosts=("127.0.0.1", "127.0.0.2")) as listener,
        opened("127.0.0.2", names) as outbound,
    ):
        url = f"http://rebinding.example:{listener.port}/"
        assert await get(outbound, url) == b"ok"
        outbound_cache = vars(outbound)["_session"].connector
        outbound_cache.clear_dns_cache()
        with pytest.raises(OutboundRefused):
            await get(outbound, url)

    assert listener.connections == 1


async def test_of_several_addresses_only_those_allowed_are_tried() -> None:
    mixed = ["10.255.255.1", "127.0.0.1", "::1", "127.0.0.2"]
    names = Names({"mixed.example": [mixed], "bad.example": [mixed[:3]]})
    async with (
        listening(lasting, hosts=("127.0.0.1", "127.0.0.2", "::1")) as listener,
        opened("127.0.0.2", names) as outbound,
    ):
        assert await get(outbound, f"http://mixed.example:{listener.port}/") == b"ok"
        with pytest.raises(OutboundRefused, match=r"bad\.example"):
            await get(outbound, f"http://bad.example:{listener.port}/")

    assert listener.connections == 1


async def test_what_the_operator_allows_by_name_is_reached_by_that_name_only() -> None:
    names = Names({name: [["127.0.0.1"]] for name in ("tools.internal", "other.internal")})
    async with listening(lasting) as listener, listening(lasting) as another:
        allow = f"tools.internal:{listener.port}"
        async with opened(allow, names) as outbound:
            assert await get(outbound, f"http://tools.internal:{listener.port}/") == b"ok"
            assert await get(outbound, f"http://Tools.Internal:{listener.port}/") == b"ok"
            for refused in (
                f"http://other.internal:{listener.port}/",
                f"http://127.0.0.1:{listener.port}/",
                f"http://tools.internal:{another.port}/",
            ):
                with pytest.raises(OutboundRefused, match="ARGOSY_OUTBOUND_ALLOW"):
                    await get(outbound, refused)
        assert another.connections == 0


async def test_many_at_once_are_each_judged_as_what_they_ask_for() -> None:
    names = Names({name: [["127.0.0.1"]] for name in ("tools.internal", "other.internal")})
    async with listening(says(OK)) as listener, opened("tools.internal", names) as outbound:
        hosts = ["tools.internal", "other.internal"] * 20
        answers = await asyncio.gather(
            *(get(outbound, f"http://{host}:{listener.port}/") for host in hosts),
            return_exceptions=True,
        )

    assert answers[::2] == [b"ok"] * 20
    assert all(isinstance(answer, OutboundRefused) for answer in answers[1::2])
    assert listener.connections == 20


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://127.0.0.1/", "file:///etc/passwd", "unix:///run/x.sock", "tcp://127.0.0.1:80"),
        *("ws://127.0.0.1/", "//127.0.0.1/", "/etc/passwd", "", "http://", "http:///x", "http:x"),
        *("http://user:canary-3b9f@127.0.0.1/", "http://canary-3b9f@127.0.0.1/"),
        *("http://127.0.0.1:99999/", "http://a b/", "http://127.0.0.1/\r\nX: y", "http://[::1/"),
        *("http://127.0.0.1/ü", "http://127.0.0.1\\@x/", "http://127.0.0.1/\x00"),
    ],
)
async def test_only_plain_http_urls_are_called(url: str) -> None:
    async with opened() as outbound:
        with pytest.raises(OutboundRefused) as refused:
            await get(outbound, url)

    assert CANARY not in str(refused.value)


async def test_redirects_are_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(lasting) as inside:
        away = f"HTTP/1.1 307 Go\r\nLocation: {inside.url}/\r\nContent-Length: 0\r\n\r\n".encode()
        async with (
            listening(says(away)) as listener,
            opened() as outbound,
            outbound.request("POST", listener.url, headers={}, body=b"x") as answer,
        ):
            assert answer.status == 307
            assert answer.headers["location"] == f"{inside.url}/"
            assert await answer.body(1) == b""
        assert inside.connections == 0


async def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(lasting) as proxy, listening(lasting) as listener:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with opened() as outbound:
            assert await get(outbound, listener.url) == b"ok"
        assert proxy.connections == 0


async def test_an_allow_list_that_cannot_be_read_is_said_at_the_start() -> None:
    with pytest.raises(Invalid, match="ARGOSY_OUTBOUND_ALLOW"):
        async with open_http_outbound(Settings(outbound_allow="http://x")):
            pass


# -- TLS


async def test_tls_trusts_what_the_machine_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    names = Names({"tools.internal": [["127.0.0.1"]], "other.internal": [["127.0.0.1"]]})
    tls = authority.server("tools.internal", "127.0.0.1")
    async with listening(lasting, tls=tls) as listener, opened(LOOPBACK, names) as outbound:
        assert await get(outbound, f"https://tools.internal:{listener.port}/") == b"ok"
        assert await get(outbound, f"https://tools.internal.:{listener.port}/") == b"ok"
        assert await get(outbound, f"https://127.0.0.1:{listener.port}/") == b"ok"
        with pytest.raises(OutboundFailed, match="not trusted: hostname mismatch"):
            await get(outbound, f"https://other.internal:{listener.port}/")
        with pytest.raises(OutboundFailed, match=r"without an answer|broken HTTP"):
            await get(outbound, f"http://127.0.0.1:{listener.port}/")

    monkeypatch.delenv("SSL_CERT_FILE")
    async with listening(lasting, tls=tls) as listener, opened() as outbound:
        with pytest.raises(OutboundFailed, match="not trusted"):
            await get(outbound, f"https://127.0.0.1:{listener.port}/")

    async def hello(peer: Peer) -> None:
        await peer.say(b"SSH-2.0-hello\r\n")

    async with listening(hello) as listener, opened() as outbound:
        with pytest.raises(OutboundFailed, match="TLS"):
            await get(outbound, f"https://127.0.0.1:{listener.port}/")


# -- what they send


async def test_a_request_is_sent_as_it_is_given() -> None:
    async with listening(lasting) as listener, opened() as outbound:
        url = f"{listener.url}/a%2Fb/%7e//../x;y?q=%41+b&&=%zz#fragment"
        headers = {
            "X-One": "1",
            "authorization": "Bearer x",
        }
        connections = {"Host", "Connection", "Content-Length", "Expect", "Upgrade", "TE", "Trailer"}
        headers |= dict.fromkeys([*connections, "Transfer-Encoding"], "chunked")
        async with outbound.request("GET", url, headers=headers) as answer:
            assert await answer.body(9) == b"ok"
        async with outbound.request("POST", listener.url, headers={"Accept": "x"}) as answer:
            assert answer.status == 200

    first, second = (head.decode().split("\r\n") for head in listener.heads)
    assert first[0] == "GET /a%2Fb/%7e//../x;y?q=%41+b&&=%zz HTTP/1.1"
    assert set(filter(None, first[1:])) == {
        f"Host: 127.0.0.1:{listener.port}",
        *("X-One: 1", "authorization: Bearer x"),
        *("accept: */*", "accept-encoding: identity", "user-agent: argosy"),
    }
    assert "Content-Length: 0" in second
    assert "Accept: x" in second
    assert "accept: */*" not in second


async def test_a_large_body_arrives_whole() -> None:
    sent = bytes(range(256)) * (20 * MEGABYTE // 256)
    came = bytearray()

    async def take(peer: Peer) -> None:
        head = await peer.head()
        assert f"Content-Length: {len(sent)}".encode() in head
        came.extend(await peer.reader.readexactly(len(sent)))
        await peer.say(OK)

    async with (
        listening(take) as listener,
        opened() as outbound,
        outbound.request("PUT", listener.url, headers={}, body=sent) as answer,
    ):
        assert await answer.body(2) == b"ok"

    assert bytes(came) == sent


async def test_an_answer_that_comes_before_the_body_was_read_is_an_answer() -> None:
    early = b"HTTP/1.1 413 Too much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"

    async def refuse(peer: Peer) -> None:
        await peer.head()
        await peer.say(early)
        await asyncio.Event().wait()

    body = b"x" * 20 * MEGABYTE
    async with (
        listening(refuse) as listener,
        opened() as outbound,
        asyncio.timeout(20),
        outbound.request("POST", listener.url, headers={}, body=body) as answer,
    ):
        assert answer.status == 413
        assert await answer.body(2) == b"no"


@pytest.mark.parametrize(
    ("method", "headers"),
    [("GE T", {}), ("GET\r\nX: y", {}), ("GET", {"x": f"{CANARY}\r\nY: z"}), ("GET", {"x y": "z"})],
)
async def test_nothing_is_smuggled_into_a_request(method: str, headers: dict[str, str]) -> None:
    async with listening(lasting) as listener, opened() as outbound:
        with pytest.raises(OutboundFailed) as failed:
            async with outbound.request(method, listener.url, headers=headers):
                pass

    assert listener.heads == []
    assert CANARY not in str(failed.value)


async def test_cookies_are_not_kept() -> None:
    setting = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nSet-Cookie: c=d\r\n"

    async def serve(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.say(setting + b"Content-Length: 0\r\n\r\n")

    async with listening(serve) as listener, opened() as outbound:
        for _ in range(2):
            async with outbound.request("GET", listener.url, headers={}) as answer:
                assert answer.headers["set-cookie"] == "a=b; Path=/, c=d"

    assert not any(b"ookie" in head for head in listener.heads)
