"""What a build reaches through its door: the hosts of the package index, and nothing else."""

import asyncio
import socket
import textwrap
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from domain.builds import BuildEnded
from domain.errors import Invalid
from tests.workers.builds import Builder, environment_for, local, the_driver
from tests.workers.packages import Index, make_sdist, serve
from workers.builder.door.doors import CONNECTIONS, open_door
from workers.builder.door.requests import HEAD_BYTES
from workers.builder.indexes import PackageIndex, find_index
from workers.builder.programs import Ran, online_spec, run_online
from workers.gateway.server import SOCKET

SECONDS = 20
WHEEL = "/files/good-1.0-py3-none-any.whl"


@pytest.fixture
def other(directory: Path, index: Index) -> Iterator[Index]:
    """A server that has the same, and is not the index."""
    with serve(Index(index.folder)) as served:
        yield served


def host_of(index: Index) -> str:
    return index.url.split("/")[2]


def port_of(index: Index) -> int:
    return int(host_of(index).partition(":")[2])


def refused(end: BuildEnded, other: Index, builder: Builder) -> None:
    """It failed because of where it was sent, and nobody was asked there."""
    assert end.how == "failed", end
    assert f"sends builds to {host_of(other)}, which is none of its hosts" in end.detail
    assert f"name {host_of(other)} in ARGOSY_INDEX_FILE_HOSTS" in end.hint
    assert other.asked == []
    assert builder.leftovers() == []


async def inside(builder: Builder, code: str) -> str:
    """Run Python where uv runs; returns what it printed."""

    async def say(line: str) -> None:
        raise AssertionError(line)

    argv = [builder.tools.python.python, "-I", "-c", textwrap.dedent(code)]
    spec = online_spec(builder.tools, None, {})
    ran = await run_online(builder.tools, "resolve", spec, argv, say)
    assert isinstance(ran, Ran)
    assert ran.code == 0
    return ran.answer


async def test_uv_has_no_network_but_its_door(builder: Builder, index: Index, other: Index) -> None:
    code = f"""
        import os, socket, urllib.request
        print([name for _, name in socket.if_nameindex()])
        for address in (("127.0.0.1", {port_of(index)}), ("127.0.0.1", {port_of(other)}),
                        ("1.1.1.1", 53)):
            try:
                socket.create_connection(address, 2)
                print("reached")
            except OSError as error:
                print(type(error).__name__)
        for port in ({port_of(index)}, {port_of(other)}):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{{port}}/simple/good/").read()
                print("answered")
            except OSError as error:
                print(error.code)
            proxy = socket.create_connection(("127.0.0.1", 8701))
            proxy.sendall(f"CONNECT 127.0.0.1:{{port}} HTTP/1.1\\r\\n\\r\\n".encode())
            print(proxy.recv(100).split()[1].decode())
        print(sorted(name for name in os.environ if "proxy" in name.lower()))
    """

    lines = (await inside(builder, code)).splitlines()

    assert lines[0] == "['lo']"
    assert lines[1:4] == ["ConnectionRefusedError", "ConnectionRefusedError", "OSError"]
    assert lines[4:8] == ["answered", "200", "403", "403"]
    assert lines[8] == "['http_proxy', 'https_proxy']"
    assert other.asked == []


async def test_an_index_that_leads_elsewhere_is_not_followed(
    builder: Builder, index: Index, other: Index
) -> None:
    index.moved["/simple/good/"] = f"{other.url}/good/"

    refused(await builder.build("good"), other, builder)


async def test_files_at_another_host_are_fetched_where_the_operator_names_it(
    builder: Builder, directory: Path, index: Index, other: Index
) -> None:
    index.files_url = other.url.removesuffix("/simple")
    refused(await builder.build("good"), other, builder)

    named = find_index("", environment_for(index.url), f"files.pythonhosted.org,{host_of(other)}")
    end = await Builder(directory / "second", the_driver(), named).build("good")

    assert end.how == "succeeded", end
    assert WHEEL in other.asked


async def test_a_wheel_that_has_moved_elsewhere_is_not_fetched(
    builder: Builder, index: Index, other: Index
) -> None:
    index.moved[WHEEL] = f"{other.url.removesuffix('/simple')}{WHEEL}"

    refused(await builder.build("good"), other, builder)


async def test_a_source_that_has_moved_elsewhere_is_not_fetched(
    builder: Builder, index: Index, other: Index
) -> None:
    make_sdist(index.folder, "made", "1.0")
    path = "/files/made-1.0.tar.gz"
    index.moved[path] = f"{other.url.removesuffix('/simple')}{path}"

    refused(await builder.build("made"), other, builder)


async def test_an_index_that_fails_once_is_asked_again(directory: Path, index: Index) -> None:
    class Flaky(Index):
        def page(self, name: str) -> bytes | None:
            self.status = 503 if len(self.asked) == 1 else 200
            return super().page(name)

    with serve(Flaky(index.folder)) as flaky:
        environment = {**environment_for(flaky.url), "UV_HTTP_RETRIES": "1"}
        end = await Builder(directory, the_driver(), find_index("", environment)).build("good")

    assert end.how == "succeeded", end
    assert flaky.asked[:2] == ["/simple/good/"] * 2


async def test_an_index_without_a_name_is_said(directory: Path) -> None:
    nowhere = Index(directory)
    nowhere.url = "https://no-such-host.invalid/simple"

    end = await Builder(directory, the_driver(), local(nowhere)).build("good")

    assert (end.how, end.step) == ("failed", "resolve")
    assert "no-such-host.invalid:443 could not be connected to" in end.detail


class Proxy:
    """An operator's own proxy, which knows of one host by a name of its own. `heads`: as came."""

    def __init__(self, port: int) -> None:
        self.heads: list[str] = []
        self._port = port
        self.port = 0

    @contextmanager
    def serve(self) -> Generator["Proxy"]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.heads.append(f"{self.requestline}\n{self.headers}")
                path = self.path.removeprefix("http://index.internal")
                with socket.create_connection(("127.0.0.1", proxy._port)) as server:
                    server.sendall(f"{self.command} {path} HTTP/1.0\r\n\r\n".encode())
                    while data := server.recv(1 << 16):
                        self.wfile.write(data)

            do_HEAD = do_GET  # noqa: N815, http.server looks for this name

            def do_CONNECT(self) -> None:
                proxy.heads.append(f"{self.requestline}\n{self.headers}")
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"hello from there")

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.port = server.server_port
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


async def test_the_operators_own_proxy_is_gone_through(directory: Path, index: Index) -> None:
    with Proxy(port_of(index)).serve() as proxy:
        environment = {
            **environment_for("http://index.internal/simple"),
            "http_proxy": f"http://me:se%20same@127.0.0.1:{proxy.port}",
        }
        builder = Builder(directory, the_driver(), find_index("", environment))
        end = await builder.build("good")

    assert end.how == "succeeded", end
    assert proxy.heads[0].startswith("GET http://index.internal/simple/good/ HTTP/1.1\n")
    assert all("Proxy-Authorization: Basic bWU6c2Ugc2FtZQ==" in head for head in proxy.heads)
    assert "se%20same" not in builder.text


async def test_a_host_may_be_reached_without_the_operators_proxy(
    directory: Path, index: Index
) -> None:
    environment = {
        **environment_for(index.url),
        "HTTP_PROXY": "127.0.0.1:9",
        "NO_PROXY": "example.org,127.0.0.1",
    }

    end = await Builder(directory, the_driver(), find_index("", environment)).build("good")

    assert end.how == "succeeded", end


async def ask(directory: Path, words: bytes) -> bytes:
    """Say something to a door, and return all that it says."""
    reader, writer = await asyncio.open_unix_connection(directory / SOCKET)
    writer.write(words)
    async with asyncio.timeout(SECONDS):
        said = await reader.read()
    writer.close()
    return said


async def test_a_tunnel_goes_through_the_operators_proxy_too(directory: Path) -> None:
    with Proxy(0).serve() as proxy:
        index = PackageIndex(
            key="",
            places=frozenset({("pypi.org", 443)}),
            proxies={"https": f"http://127.0.0.1:{proxy.port}", "no": "example.org"},
        )
        async with open_door(index, directory):
            said = await ask(directory, b"CONNECT pypi.org:443 HTTP/1.1\r\n\r\n")

    assert said == b"HTTP/1.1 200 Connected\r\n\r\nhello from there"
    assert proxy.heads[0].startswith("CONNECT pypi.org:443 HTTP/1.1\n")


async def test_nothing_but_the_request_goes_to_the_operators_proxy(directory: Path) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nfound")
        writer.write_eof()
        heard.set_result(head + await reader.read())
        writer.close()

    judged = b"GET http://pypi.org/simple/ HTTP/1.1\r\nProxy-Connection: keep-alive\r\n\r\n"
    more = b"GET http://internal.test/ HTTP/1.1\r\n\r\n"
    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        index = PackageIndex(
            key="",
            places=frozenset({("pypi.org", 80)}),
            proxies={"http": f"http://127.0.0.1:{port}"},
        )
        async with open_door(index, directory):
            said = await ask(directory, judged + more)
            passed_on = await heard

    assert said.endswith(b"found")
    assert passed_on == (
        b"GET http://pypi.org/simple/ HTTP/1.1\r\nHost: pypi.org\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"hello\r\n\r\n", b"400"),
        (b"GET /simple/ HTTP/1.1\r\nHost: pypi.org\r\n\r\n", b"400"),
        (b"GET https://pypi.org/simple/ HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT pypi.org@evil.org HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT evil.org:443 HTTP/1.1\r\n\r\n", b"403"),
        (b"CONNECT pypi.org:22 HTTP/1.1\r\n\r\n", b"403"),
        (b"CONNECT pypi.org.evil.org:443 HTTP/1.1\r\n\r\n", b"403"),
        (b"GET http://pypi.org@evil.org/ HTTP/1.1\r\n\r\n", b"403"),
        (b"GET http://pypi.org/ HTTP/1.1\r\n\r\n", b"403"),
        (b"CONNECT pypi.org:443 HTTP/1.1\r\nX: y\nConnection: z\r\n\r\n", b"400"),
        (b"CONNECT pypi.org:443 HTTP/1.1\r\nX: y\r\n folded\r\n\r\n", b"400"),
        (b"CONNECT pypi.org:443 HTTP/1.1\r\nProxy-X : y\r\n\r\n", b"400"),
        (b"CONNECT pypi.org:443 HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES * 2, b"431"),
    ],
)
async def test_what_is_no_request_for_the_index_is_refused(
    directory: Path, words: bytes, status: bytes
) -> None:
    async with open_door(PackageIndex(key="", places=frozenset({("pypi.org", 443)})), directory):
        said = await ask(directory, words)

    assert said.split()[1] == status


async def test_a_client_that_reads_late_has_all_of_it(directory: Path) -> None:
    """Also when the door has closed already what the kernel had no room for."""
    sizes = range(100_000, 1_000_000, 20_000)  # how much room there is differs
    left = iter(sizes)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * next(left))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        host, port = server.sockets[0].getsockname()
        index = PackageIndex(key="", places=frozenset({(host, port)}))
        async with open_door(index, directory):
            for size in sizes:
                reader, writer = await asyncio.open_unix_connection(directory / SOCKET)
                writer.write(f"GET http://{host}:{port}/ HTTP/1.1\r\n\r\n".encode())
                for _ in range(500):  # turns of the loop, for the door to get as far as it can
                    await asyncio.sleep(0)
                async with asyncio.timeout(SECONDS):
                    assert len(await reader.read()) == size
                writer.close()


async def test_more_connections_than_there_is_room_for_wait(directory: Path, index: Index) -> None:
    request = f"GET {index.url}/good/ HTTP/1.1\r\n\r\n".encode()
    async with open_door(local(index), directory):
        path = directory / SOCKET
        held = [await asyncio.open_unix_connection(path) for _ in range(CONNECTIONS)]
        waiting = asyncio.create_task(ask(directory, request))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        held[0][1].close()
        said = await waiting
        for _, writer in held:
            writer.close()

    assert b"good-1.0" in said


@pytest.mark.parametrize("hosts", ["a b", "https://files.example", "files.example:port"])
def test_hosts_that_are_none_are_refused(hosts: str) -> None:
    with pytest.raises(Invalid, match="ARGOSY_INDEX_FILE_HOSTS"):
        find_index("", {}, hosts)


def test_proxies_that_cannot_be_gone_through_are_refused() -> None:
    with pytest.raises(Invalid, match="https_proxy"):
        find_index("", {"ALL_PROXY": "socks5://127.0.0.1:1080", "http_proxy": "127.0.0.1:1"})


@pytest.mark.parametrize(
    ("setting", "environment", "places"),
    [
        ("", {}, {("pypi.org", 443), ("files.pythonhosted.org", 443)}),
        (
            "https://me:pass@Mirror.example:8443/simple",
            {"UV_INDEX_URL": "https://other.example"},
            {("mirror.example", 8443), ("files.pythonhosted.org", 443)},
        ),
        (
            "",
            {"UV_INDEX": "ours=http://a.example/simple https://[::1]:1/x"},
            {("a.example", 80), ("[::1]", 1), ("pypi.org", 443), ("files.pythonhosted.org", 443)},
        ),
        ("/usr", {"UV_INDEX": "https://a.example"}, set[object]()),
    ],
)
def test_the_index_and_its_files_are_all_that_is_reached(
    setting: str, environment: dict[str, str], places: set[object]
) -> None:
    assert find_index(setting, environment).places == places
