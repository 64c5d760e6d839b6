"""The one place where a process's parts are opened, joined and closed."""

import asyncio
import importlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager

import structlog
from msgspec import Struct

from adapters.announcing import Announcer
from adapters.blob_limits import BlobLimit
from adapters.blobs import BlobStore, FolderBlobs, bytes_in
from adapters.connections import connect, connect_blocking
from adapters.event_store.store import Store, open_store
from adapters.facts import count
from adapters.job_queue import RqQueue
from adapters.live_streams import HURRY, RedisLiveStreams
from adapters.master_keys import read_master_key
from adapters.settings import Settings
from adapters.tracing import recorded_traces
from adapters.vault import ClosedVault, Vault
from domain.handling import Commands
from domain.ports import Leases

log = structlog.stdlib.get_logger(__name__)


class Services(Struct, frozen=True, kw_only=True):
    """What a process works with.

    name: the process, as its log lines call it.
    vault: closed unless it was asked for.
    hurry: says that a list waits for the read models, so that they are written at once.
    """

    name: str
    settings: Settings
    store: Store
    leases: Leases
    commands: Commands
    live: RedisLiveStreams
    queue: RqQueue
    blobs: BlobStore
    vault: Vault
    hurry: Callable[[], None]


@asynccontextmanager
async def open_services(
    settings: Settings, *, name: str, needs_vault: bool = False
) -> AsyncGenerator[Services]:
    """Open everything for one process, on its event loop, and close it in order on leaving.

    What this process appends is announced to the others after commit; what they append wakes the
    followers here. Redis need not be there, at the start or ever: it is used while it is.
    Raises Unavailable when the database cannot be reached, and VaultLocked where the vault is
    needed and the master key is missing or another.
    """
    with recorded_traces(name):
        async with _opened(settings, name=name, needs_vault=needs_vault) as services:
            yield services


@asynccontextmanager
async def _opened(settings: Settings, *, name: str, needs_vault: bool) -> AsyncGenerator[Services]:
    settings.data.mkdir(parents=True, exist_ok=True)
    master_key = read_master_key(settings) if needs_vault else None
    blobs = open_blobs(settings)
    store = await open_store(settings.log_url)
    try:
        vault = await _open_vault(store, master_key)
    except BaseException:
        await store.close()
        raise
    live = RedisLiveStreams(connect(settings.redis))
    queue = RqQueue(connect_blocking(settings.redis))
    announcer = Announcer(live, queue)
    store.on_commit(announcer.committed)
    store.on_commit(count)
    tasks = [_task(announcer.run()), _task(_pass_on_wakes(live, store))]
    try:
        yield Services(
            name=name,
            settings=settings,
            store=store,
            leases=store.leases,
            commands=Commands(store),
            live=live,
            queue=queue,
            blobs=blobs,
            vault=vault,
            hurry=announcer.hurry,
        )
    finally:
        await store.close()
        await asyncio.sleep(0)  # what was committed last is told on the loop's next turn
        await announcer.flush()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await live.close()
        await queue.close()


def open_blobs(settings: Settings) -> BlobStore:
    """Return the blob store that is set; nothing is opened yet. Raises Invalid."""
    blobs: BlobStore
    if settings.blobs_in_s3:
        # Loading it takes 10 MB and 50 ms, which only those who keep blobs there spend.
        blobs = importlib.import_module("adapters.s3_blobs").open_s3(settings)
    else:
        blobs = FolderBlobs(settings.blob_directory)
    if settings.blob_limit_mb:
        blobs.limit = BlobLimit(settings.blob_limit_mb, lambda: bytes_in(blobs))
    return blobs


async def _open_vault(store: Store, master_key: bytes | None) -> Vault:
    if master_key is None:
        return ClosedVault()
    # Loading what it encrypts with takes 6 MB, which only processes that need it spend.
    return await importlib.import_module("adapters.sql_vault").open_vault(
        store.database, master_key
    )


async def _pass_on_wakes(live: RedisLiveStreams, store: Store) -> None:
    async for position in live.wakes():
        if position == HURRY:
            store.hurry()
        else:
            store.wake(position)


def _task(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """Start what only carries hints: if it dies of a bug, the process goes on, and says so."""
    task = asyncio.create_task(work)
    task.add_done_callback(_report)
    return task


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("hints.died", exc_info=error)
