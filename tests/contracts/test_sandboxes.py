"""Contract of `Sandbox.run`: what goes in comes out, how it ended is data, and all of it ends."""

import asyncio
import contextlib
import json
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from domain.errors import Invalid
from tests.contracts.sandboxes import (
    BACKENDS,
    PATIENCE,
    SECONDS,
    Machine,
    Opened,
    machine,
    outcome,
    reachable,
    spec,
)
from workers.sandboxes.driver import Exit, Mount, Output, SandboxUnsupported

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


@pytest.fixture(params=BACKENDS)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    with machine(request.param) as found:
        yield found


async def test_streams_are_kept_apart(here: Machine) -> None:
    code = """
import os, sys
print("to stdout", flush=True)
print("to stderr", file=sys.stderr)
os.write(int(os.environ["ARGOSY_CHANNEL_FD"]), b"to channel")
"""
    done = await here.run(code, channel=True)

    assert (done.stdout, done.stderr) == (b"to stdout\n", b"to stderr\n")
    assert done.channel == b"to channel"
    assert (done.exit.code, done.exit.signal) == (0, None)


async def test_streams_can_be_opened_by_name(here: Machine) -> None:
    """As shell scripts do. The pipes were made by another user, when root started the sandbox."""
    script = "echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin >/proc/self/fd/1"
    done = await here.run("", argv=["/bin/sh", "-c", script], stdin=b"in\n")

    assert (done.stdout, done.stderr) == (b"out\nin\n", b"err\n")


async def test_output_comes_while_the_program_runs(here: Machine) -> None:
    async with here.driver.open(spec()) as sandbox:
        run = sandbox.run(here.python("print('first', flush=True); input()"), keep_stdin=True)
        first = await anext(run)
        await sandbox.write(b"go on\n")
        rest = [item async for item in run]

    assert first == Output("stdout", b"first\n")
    assert [type(item) for item in rest] == [Exit]


async def test_what_is_written_as_it_begins_comes_after_what_it_begins_with(here: Machine) -> None:
    """Whoever takes a program that was started ahead may do so in the very step that starts it."""
    async with here.driver.open(spec()) as sandbox:
        code = "import sys; print(sys.stdin.read())"
        run = sandbox.run(here.python(code), stdin=b"first ", keep_stdin=True)

        async def tell() -> None:
            await sandbox.write(b"second")
            await sandbox.close_stdin()

        telling = asyncio.create_task(tell())
        done = await outcome(run)
        await telling

    assert (done.exit.code, done.stdout) == (0, b"first second\n")


async def test_every_byte_of_input_arguments_and_environment_arrives(here: Machine) -> None:
    text = bytes(range(1, 256)).decode("utf-8", "surrogateescape") + "\n\n'\"$(exit 9)`exit 9`\\"
    code = """
import os, sys
out = sys.stdout.buffer
out.write(os.fsencode(sys.argv[1]) + os.environb[b"GIVEN"] + os.environb[b"ADDED"])
out.write(sys.stdin.buffer.read())
"""
    async with here.driver.open(spec(environment={"GIVEN": text, "ADDED": "no"})) as sandbox:
        done = await outcome(
            sandbox.run(
                [*here.python(code), text], stdin=bytes(300_000), environment={"ADDED": "yes"}
            )
        )

    assert done.stdout == os.fsencode(text) * 2 + b"yes" + bytes(300_000)


async def test_no_variable_changes_how_a_program_starts(here: Machine) -> None:
    code = """
import os
os.write(1, os.environb[b"TWO_LINES"] + b"\\n" + os.environb[b"n"])
os.write(int(os.environ["ARGOSY_CHANNEL_FD"]), b"heard")
"""
    given = {"n": "x", "line": "exit 9", "IFS": "a", "TWO_LINES": "1\n2", "ARGOSY_CHANNEL_FD": "1"}
    async with here.driver.open(spec(environment=given, channel=True)) as sandbox:
        done = await outcome(sandbox.run(here.python(code), environment=given))

    assert done.stdout == b"1\n2\nx"
    assert done.channel == b"heard"


async def test_the_environment_holds_what_was_given_and_a_few_defaults(here: Machine) -> None:
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    done = await here.run(code, environment={"LANG": "de_DE.UTF-8", "SECRET": "s3cret"})

    given = json.loads(done.stdout)
    assert given.pop("PATH").endswith("/usr/bin:/sbin:/bin")
    given.pop("LC_CTYPE", None)  # Python's own doing
    assert given == {"HOME": "/tmp", "PWD": "/work", "LANG": "de_DE.UTF-8", "SECRET": "s3cret"}


@pytest.mark.parametrize(
    ("code", "status", "number"),
    [
        ("raise SystemExit(7)", 7, None),
        ("import os; os.kill(os.getpid(), 9)", None, signal.SIGKILL),
        ("import os; os.abort()", None, signal.SIGABRT),
    ],
)
async def test_a_bad_end_is_a_value(
    here: Machine, code: str, status: int | None, number: int | None
) -> None:
    done = await here.run(code)

    assert (done.exit.code, done.exit.signal) == (status, number)


async def test_a_program_that_is_not_there_ends_like_in_a_shell(here: Machine) -> None:
    done = await here.run("", argv=["/no/such/program"])

    assert done.exit.code == 127
    assert b"not found" in done.stderr


async def test_an_endless_printer_waits_for_its_reader(here: Machine) -> None:
    """However much it prints, no more than the pipe is held, and other tasks have their turn."""
    code = "import sys\nwhile True: sys.stdout.buffer.write(bytes(65536))"
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with here.driver.open(spec()) as sandbox:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run = sandbox.run(here.python(code))
        other = asyncio.create_task(others())
        async with contextlib.aclosing(run):
            for _ in range(500):
                assert isinstance(await anext(run), Output)
        other.cancel()

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
    assert turns >= 490


async def test_a_program_that_never_reads_does_not_block_the_worker(here: Machine) -> None:
    async with here.driver.open(spec()) as sandbox:
        done = await outcome(sandbox.run(here.python("print('hi')"), stdin=bytes(1 << 20)))

    assert done.stdout == b"hi\n"


async def test_kill_ends_everything_at_once(here: Machine) -> None:
    async with here.driver.open(spec()) as sandbox:
        run = sandbox.run(here.python(SLEEPER))
        await anext(run)
        async with asyncio.timeout(2 * PATIENCE):
            await sandbox.kill()
            items = [item async for item in run]

    assert [item.signal for item in items if isinstance(item, Exit)] == [signal.SIGKILL]


async def test_a_paused_sandbox_does_nothing_until_it_is_resumed(here: Machine) -> None:
    """Children in sessions of their own stand still too, and a paused sandbox can be killed."""
    code = """
import os
if os.fork() == 0:
    os.setsid()
print("up", flush=True)
while True:
    pass
"""
    async with here.driver.open(spec()) as sandbox, asyncio.timeout(SECONDS):
        run = sandbox.run(here.python(code))
        said = b""
        while said != b"up\n" * 2:
            said += cast("Output", await anext(run)).data
        await sandbox.pause()
        await sandbox.pause()
        used = _cpu_ticks(here, sandbox)
        await asyncio.sleep(0.1)
        assert len(used) == 2
        assert _cpu_ticks(here, sandbox) == used

        await sandbox.resume()
        while any(_cpu_ticks(here, sandbox)[pid] <= ticks for pid, ticks in used.items()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

        await sandbox.pause()
        await sandbox.kill()
        assert [type(item) async for item in run] == [Exit]


async def test_leaving_destroys_whatever_still_runs(here: Machine) -> None:
    async def fail() -> None:
        async with here.driver.open(spec()) as sandbox:
            await anext(sandbox.run(here.python(SLEEPER)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


async def test_a_cancelled_task_destroys_its_sandbox_first(here: Machine) -> None:
    up = asyncio.Event()

    async def work() -> None:
        async with here.driver.open(spec()) as sandbox:
            async for _ in sandbox.run(here.python(SLEEPER)):
                up.set()

    for wait in (up.wait(), asyncio.sleep(0.001), asyncio.sleep(0.004)):
        task = asyncio.create_task(work())
        await wait
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_sandbox_that_was_never_used_leaves_nothing(here: Machine) -> None:
    async with here.driver.open(spec()) as sandbox:
        assert sandbox.uid != 0


async def test_a_sandbox_runs_one_program(here: Machine) -> None:
    async with here.driver.open(spec()) as sandbox:
        await outcome(sandbox.run(here.python("")))

        with pytest.raises(RuntimeError):
            await anext(sandbox.run(here.python("")))


async def test_many_at_once_all_end_and_leave_nothing(here: Machine) -> None:
    many = 12 if here.engine else 50  # an engine takes ten times as long for each
    done = await asyncio.gather(*(here.run(f"print({n})") for n in range(many)))

    assert [one.stdout for one in done] == [f"{n}\n".encode() for n in range(many)]


async def test_what_cannot_be_set_up_is_refused_and_leaves_nothing(here: Machine) -> None:
    missing = Mount("/no/such/layer", "/layer")

    with pytest.raises(SandboxUnsupported, match="/no/such/layer"):
        async with here.driver.open(spec(layers=(*here.base.layers, missing))):
            pass


@pytest.mark.parametrize("target", ["relative", "/", "/app/../etc", "/nul\0"])
async def test_a_path_that_makes_no_sense_is_refused(here: Machine, target: str) -> None:
    with pytest.raises(Invalid):
        async with here.driver.open(spec(layers=(*here.base.layers, Mount("/usr", target)))):
            pass


@pytest.mark.parametrize(
    ("argv", "environment"),
    [
        ([], {}),
        (["a\0b"], {}),
        (["true"], {"A": "\0"}),
        (["true"], {"A B": ""}),
        (["true"], {"": ""}),
    ],
)
async def test_what_cannot_be_passed_is_refused(
    here: Machine, argv: list[str], environment: dict[str, str]
) -> None:
    async with here.driver.open(spec()) as sandbox:
        with pytest.raises(Invalid):
            await anext(sandbox.run(argv, environment=environment))


async def test_limits_for_the_whole_sandbox_are_refused_where_they_cannot_be_kept(
    here: Machine,
) -> None:
    demanding = here.driver.open(spec(scope="sandbox"))
    if not here.limits_hold_for_all:
        with pytest.raises(SandboxUnsupported):
            async with demanding:
                pass
    else:
        async with demanding as sandbox:
            assert sandbox.scope == "sandbox"


async def test_a_gateway_socket_is_the_only_way_out(here: Machine, tmp_path: Path) -> None:
    """Bound as a directory, so that a gateway that is started again is found."""
    directory = reachable(tmp_path) / "gateway"
    directory.mkdir()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(100)).upper())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(answer, directory / "gateway.sock")
    (directory / "gateway.sock").chmod(0o666)
    code = """
import socket
connection = socket.socket(socket.AF_UNIX)
connection.connect("/run/argosy/gateway.sock")
connection.sendall(b"hello")
print(connection.recv(100).decode())
open("/run/argosy/new", "w")
"""
    async with server:
        done = await here.run(code, gateway=str(directory))

    assert done.stdout == b"HELLO\n"
    assert b"Read-only file system" in done.stderr


def _cpu_ticks(here: Machine, sandbox: Opened) -> dict[int, int]:
    """By pid on the host, what each process of the sandbox but the driver's has used."""
    ticks: dict[int, int] = {}
    for pid in here.members(sandbox):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks[pid] = int(fields[11]) + int(fields[12])
    return ticks
