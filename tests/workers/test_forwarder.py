"""The forwarder in a real sandbox: what an agent's code sees of it, and what it cannot break."""

import asyncio
import textwrap
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from domain.limits import Limits
from tests.workers.builds import open_directory, the_driver
from tests.workers.gateways import Book, make_session
from workers.gateway.environment import GATEWAY_PORT
from workers.gateway.exchange import Exchange
from workers.gateway.reports import Reports
from workers.gateway.routes import find_handler
from workers.gateway.server import Gateway
from workers.gateway.session import Handler, Session
from workers.harnesses.harness import Task
from workers.harnesses.harnesses import find_harness
from workers.harnesses.runtimes import write_runtime
from workers.sandboxes.bases import find_base
from workers.sandboxes.driver import Exit, Mount, Output, Spec

LIMITS = Limits(memory_mb=256, disk_mb=16, seconds=30)
SECONDS = 30

CALL = """
import json, os, socket, sys, time, urllib.request
GATEWAY = ("127.0.0.1", int(os.environ["ARGOSY_GATEWAY_PORT"]))
URL = "http://127.0.0.1:%d" % GATEWAY[1]
def ask(path="/healthz", data=None):
    with urllib.request.urlopen(URL + path, data=data, timeout=20) as answer:
        return answer.read().decode()
"""


class Stand:
    """Runs agents in sandboxes with a gateway. `handlers`, by path, come before the usual ones.

    mark: what the environment of everything that is run here holds, and of nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self.mark = f"run-of-{folder.name}"
        self.handlers: dict[str, Handler] = {}
        self.base = find_base()
        self._driver = the_driver()
        self._folder = folder
        self._runtime = write_runtime(folder / "cache", self.base.python)
        self._runs = 0

    async def run(self, code: str, argv: tuple[str, ...] | None = None) -> tuple[Exit, str, str]:
        """Run agent code after CALL (or another program); how it ended, and what it wrote."""
        self._runs += 1
        place = self._folder / f"run-{self._runs}"
        source, gateway = place / "source", place / "gateway"
        source.mkdir(parents=True)
        gateway.mkdir()
        (source / "agent.py").write_text(CALL + textwrap.dedent(code))
        task = Task(
            run_id=self.mark,
            message="hi",
            entry_point="agent.py",
            python=self.base.python,
            environment={"ARGOSY_GATEWAY_PORT": str(GATEWAY_PORT)},
        )
        launch = find_harness("source").launch(task)
        spec = Spec(
            layers=(
                *self.base.layers,
                Mount(str(self._runtime), "/opt/argosy"),
                Mount(str(source), "/app"),
            ),
            symlinks=self.base.symlinks,
            hidden=self.base.hidden,
            files=self.base.files,
            environment=launch.environment,
            limits=LIMITS,
            scope=self._driver.scope,
            channel=True,
            gateway=str(gateway),
        )
        written = {"stdout": b"", "stderr": b"", "channel": b""}
        end = Exit(code=None)
        async with (
            Gateway(find=self._find).open(make_session(Book()), gateway),
            self._driver.open(spec) as sandbox,
            asyncio.timeout(SECONDS),
        ):
            async for item in sandbox.run(argv or launch.argv, stdin=launch.stdin):
                match item:
                    case Output(stream=stream, data=data):
                        written[stream] += data
                    case Exit():
                        end = item
        said = (written["stderr"] + written["channel"]).decode()
        return end, written["stdout"].decode(), said

    def _find(self, method: str, path: str, reports: Reports) -> Handler:
        return self.handlers.get(path) or find_handler(method, path, reports)


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    with open_directory() as folder:
        yield Stand(folder)


async def test_an_agent_reaches_the_gateway_on_a_port_of_its_own(stand: Stand) -> None:
    end, out, said = await stand.run("print(ask(), ask('/v1/healthz'))")

    assert (end.code, out) == (0, '{"status":"ok"} {"status":"ok"}\n'), said


async def test_connections_are_kept_and_used_again(stand: Stand) -> None:
    code = """
        import http.client
        connection = http.client.HTTPConnection(*GATEWAY)
        for _ in range(3):
            connection.request("GET", "/healthz")
            print(connection.getresponse().read().decode(), connection.sock.getsockname()[1])
    """

    _, out, said = await stand.run(code)

    assert len(out.splitlines()) == 3, said
    assert len(set(out.splitlines())) == 1


async def test_large_bodies_and_answers_pass_whole(stand: Stand) -> None:
    async def echo(session: Session, exchange: Exchange) -> None:
        await exchange.respond(200, await exchange.body(), "text/plain")

    stand.handlers["/echo"] = echo
    code = """
        data = b"0123456789abcdef" * 600_000
        print(ask("/echo", data) == data.decode())
    """

    _, out, said = await stand.run(code)

    assert out == "True\n", said


async def test_many_connections_are_open_at_once(stand: Stand) -> None:
    code = """
        connections = [socket.create_connection(GATEWAY) for _ in range(100)]
        for each in connections:
            each.sendall(b"GET /healthz HTTP/1.1\\r\\nconnection: close\\r\\n\\r\\n")
        answers = []
        for each in connections:
            answer = b""
            while piece := each.recv(65536):
                answer += piece
            answers.append(answer.startswith(b"HTTP/1.1 200"))
        print(len(answers), all(answers))
    """

    _, out, said = await stand.run(code)

    assert out == "100 True\n", said


async def test_more_connections_than_are_forwarded_wait(stand: Stand) -> None:
    code = """
        held = [socket.create_connection(GATEWAY) for _ in range(300)]
        for each in held:
            each.close()
        print(ask())
    """

    _, out, said = await stand.run(code)

    assert out == '{"status":"ok"}\n', said


async def test_answers_come_as_they_are_written(stand: Stand) -> None:
    seen = asyncio.Event()

    async def stream(session: Session, exchange: Exchange) -> None:
        await exchange.start(200, {"content-type": "text/event-stream"})
        await exchange.send(b"first\n")
        await seen.wait()
        await exchange.send(b"second\n")
        await exchange.end()

    async def see(session: Session, exchange: Exchange) -> None:
        seen.set()
        await exchange.respond(200, b"")

    stand.handlers |= {"/stream": stream, "/see": see}
    code = """
        answer = urllib.request.urlopen(URL + "/stream", timeout=20)
        print(answer.readline().decode(), end="")
        ask("/see")
        print(answer.readline().decode(), end="")
    """

    _, out, said = await stand.run(code)

    assert out == "first\nsecond\n", said


async def test_an_agent_that_reads_slowly_slows_the_gateway(stand: Stand) -> None:
    sent = 0

    async def pour(session: Session, exchange: Exchange) -> None:
        nonlocal sent
        await exchange.start(200, {})
        while True:
            await exchange.send(b"x" * 65_536)
            sent += 65_536

    stand.handlers["/pour"] = pour
    code = """
        connection = socket.create_connection(GATEWAY)
        connection.sendall(b"GET /pour HTTP/1.1\\r\\n\\r\\n")
        connection.recv(10)
        time.sleep(1)
        print("read nothing")
    """

    end, out, said = await stand.run(code)

    assert (end.code, out) == (0, "read nothing\n"), said
    assert sent < 16 << 20  # what the kernel buffers


async def test_an_agent_that_goes_away_is_noticed(stand: Stand) -> None:
    gone = asyncio.Event()

    async def wait(session: Session, exchange: Exchange) -> None:
        await exchange.body()
        await exchange.gone()
        gone.set()

    async def ask(session: Session, exchange: Exchange) -> None:
        await gone.wait()
        await exchange.respond(200, b"gone")

    stand.handlers |= {"/wait": wait, "/ask": ask}
    code = """
        connection = socket.create_connection(GATEWAY)
        connection.sendall(b"GET /wait HTTP/1.1\\r\\n\\r\\n")
        time.sleep(0.1)
        connection.close()
        print(ask("/ask"))
    """

    _, out, said = await stand.run(code)

    assert out == "gone\n", said


async def test_an_answer_before_the_body_was_sent_arrives(stand: Stand) -> None:
    async def refuse(session: Session, exchange: Exchange) -> None:
        await exchange.respond(413, b"enough")

    stand.handlers["/refuse"] = refuse
    code = """
        connection = socket.create_connection(GATEWAY)
        connection.sendall(b"POST /refuse HTTP/1.1\\r\\ncontent-length: 60000000\\r\\n\\r\\n")
        try:
            for _ in range(600):
                connection.sendall(b"x" * 100_000)
        except OSError:
            print("cut off")
        print(connection.recv(65536).decode().splitlines()[0])
    """

    _, out, said = await stand.run(code)

    assert out.splitlines()[-1].startswith("HTTP/1.1 413"), said


async def test_it_is_no_child_of_the_agent_and_holds_none_of_its_pipes(stand: Stand) -> None:
    code = """
        import contextlib, errno
        try:
            print("a child:", os.wait())
        except OSError as error:
            print(errno.errorcode[error.errno])
        ask()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) not in (1, os.getpid()):
                place = f"/proc/{pid}/fd/"
                held = set()
                for each in os.listdir(place):
                    with contextlib.suppress(FileNotFoundError):  # just closed
                        held.add(os.readlink(place + each))
                found.append(sorted({name.partition(":")[0] for name in held}))
                parent = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1]
                print("parent", parent, "group", os.getpgid(int(pid)) == int(pid))
        print(found)
    """

    _, out, said = await stand.run(code)

    assert out.splitlines() == [
        "ECHILD",
        "parent 1 group True",
        "[['/dev/null', 'anon_inode', 'socket']]",
    ], said


@pytest.mark.parametrize(
    "attack",
    [
        "import signal; signal.signal(15, 1); signal.signal(2, 1); os.kill(-1, 15); os.kill(-1, 2)",
        "import signal; signal.signal(15, 1); os.killpg(0, 15)",
        "os.closerange(3, 65536)",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))",
        "open('argosy.py', 'w').write('raise SystemExit'); sys.path.insert(0, '.')",
        "open('_socket.py', 'w').write('raise SystemExit'); open('select.py', 'w').write('1/0')",
        "os.environ.clear()",
        "os.chdir('/tmp')",
        "[socket.create_connection(GATEWAY).close() for _ in range(500)]",
        "[socket.create_connection(GATEWAY).sendall(b'\\xff' * 100_000) for _ in range(20)]",
    ],
)
async def test_it_survives_what_agent_code_does(stand: Stand, attack: str) -> None:
    end, out, said = await stand.run(
        f"try:\n    {attack}\nexcept ConnectionError: pass\nprint(ask())\n"
    )

    assert (end.code, out) == (0, '{"status":"ok"}\n'), said


async def test_a_port_without_a_gateway_behind_it_ends_its_connections(stand: Stand) -> None:
    """The gateway is gone, as after the host was killed: nothing hangs."""
    code = """
        sys.path.append("/opt/argosy")
        from argosy import _forwarder
        _forwarder.settle(_forwarder.start(9001, "/tmp/nobody.sock"))
        connection = socket.create_connection(("127.0.0.1", 9001))
        try:
            print(connection.recv(1))
        except ConnectionResetError:
            print(b"")
    """

    _, out, said = await stand.run(code)

    assert out == "b''\n", said


async def test_the_agent_cannot_have_the_port(stand: Stand) -> None:
    code = """
        import errno
        try:
            socket.create_server(GATEWAY)
        except OSError as error:
            print(errno.errorcode[error.errno])
        socket.create_server(("127.0.0.1", 8080))
    """

    end, out, said = await stand.run(code)

    assert (end.code, out) == (0, "EADDRINUSE\n"), said


async def test_a_program_that_is_no_python_is_launched_with_it(stand: Stand) -> None:
    shell = (
        f'exec 3<>/dev/tcp/127.0.0.1/{GATEWAY_PORT}; printf "GET /healthz HTTP/1.1\\r\\n'
        'connection: close\\r\\n\\r\\n" >&3; cat <&3'
    )
    forwarder = "/opt/argosy/argosy/_forwarder.py"
    argv = (stand.base.python, "-I", "-S", forwarder, str(GATEWAY_PORT), "/bin/bash", "-c", shell)

    end, out, said = await stand.run("", argv)

    assert end.code == 0, said
    assert out.endswith('{"status":"ok"}')


async def test_a_run_leaves_nothing_of_it_behind(stand: Stand) -> None:
    alive: list[int] = []

    async def look(_: Session, exchange: Exchange) -> None:
        alive.extend(_marked(stand.mark))
        await exchange.respond_json(200, {})

    stand.handlers["/look"] = look
    await stand.run("print(ask('/look'))")

    assert len(alive) >= 2  # the agent, and the forwarder beside it
    assert _marked(stand.mark) == []


def _marked(mark: str) -> list[int]:
    """Return the processes of this machine whose environment has a mark."""
    found: list[int] = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
    return found
