"""Eight processes append to one log while somebody follows it: is anything lost or out of order?

And what one log can take: sixteen processes, with PostgreSQL asked to gather commits for a while
(`commit_delay`), as it pays on slow disks.
"""

import asyncio
import itertools
import sys
import time
from asyncio.subprocess import PIPE, Process

from adapters.event_store.migrate import migrate
from adapters.event_store.store import Store, open_store
from bench.logs import ME, directory, durable_server, event
from domain.ids import new_id
from domain.ports import Change

SECONDS = 3.0  # of each measurement
CALLERS = 8  # in each process
WRITERS = 8
MOST_WRITERS = 16


def main() -> int:
    """Print one line for each case; 1 if a follower missed or mixed up anything."""
    wrong = 0
    with directory() as place:
        url = f"sqlite:///{place / 'log.db'}"
        wrong += asyncio.run(_follow(url, WRITERS, f"order-sqlite-{WRITERS}"))
    ceiling = f"ceiling-postgres-{MOST_WRITERS}"
    with durable_server() as server:
        name = f"order-postgres-{WRITERS}"
        wrong += asyncio.run(_follow(server.new_database(), WRITERS, name))
        wrong += asyncio.run(_follow(server.new_database(), MOST_WRITERS, ceiling))
    for delay_us in (2_000, 5_000):
        with durable_server(commit_delay=str(delay_us), commit_siblings="1") as server:
            name = f"{ceiling}-delay-{delay_us // 1000}ms"
            wrong += asyncio.run(_follow(server.new_database(), MOST_WRITERS, name))
    return min(wrong, 1)


async def _follow(url: str, processes: int, name: str) -> int:
    """Follow while they write; print how many positions were lost, doubled or out of order."""
    await migrate(url)
    store = await open_store(url)
    seen: list[int] = []
    following = asyncio.create_task(_collect(store, seen))
    writers = [await _start(url) for _ in range(processes)]
    for writer in writers:
        await _line(writer)
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
    codes = [await writer.wait() for writer in writers]
    head = await store.head()
    async with asyncio.timeout(30):
        while not seen or seen[-1] < head:  # noqa: ASYNC110  # others write
            await asyncio.sleep(0.01)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await store.close()
    lost = head - len(set(seen))
    mixed = sum(later != earlier + 1 for earlier, later in itertools.pairwise(seen))
    fine = not lost and not mixed and not any(codes)
    print(
        f"{name} {lost + mixed} 0 {'ok' if fine else 'short'}  # {processes} processes,"
        f" {head / SECONDS:,.0f} events/s, {lost} lost, {mixed} out of order",
        flush=True,
    )
    return int(not fine)


async def _collect(store: Store, seen: list[int]) -> None:
    async for page in store.follow(after=0):
        seen.extend(recorded.position or 0 for recorded in page)
        # What others append is announced through Redis; here the follower looks all the time.
        store.wake(seen[-1] + 1)
        await asyncio.sleep(0.005)


async def _start(url: str) -> Process:
    command = (sys.executable, "-m", "bench.order", url, str(SECONDS))
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)


async def _line(process: Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.readline()


async def write(url: str, seconds: float) -> None:
    """Append for a while, as one of the processes: says when it is ready, and waits for a line."""
    store = await open_store(url)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    until = time.monotonic() + seconds

    async def caller() -> None:
        while time.monotonic() < until:
            id = new_id()
            await store.append([Change(stream=f"agent-{id}", events=[event(id)], expected=0)], ME)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    await store.close()


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], float(sys.argv[2])))
