"""What a backup of the log promises: taken under load, restored whole, on either database."""

import asyncio
import gzip
import json
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.backups.manifests import FORMAT, MANIFEST, digest
from adapters.backups.restoring import restore
from adapters.backups.tables import KEPT
from adapters.backups.taking import take_backup
from adapters.backups.verifying import verify
from adapters.event_store.schema import metadata
from adapters.event_store.store import Store, open_store
from adapters.sql_vault import open_vault
from domain.decider import Recorded
from domain.entries import MessageSaid
from domain.errors import Conflict, Invalid, Unavailable, VersionConflict
from domain.handling import Commands
from domain.jobs import RUNS, Job
from domain.merkle import Frontier, entry_leaf
from domain.ports import Change, Meta, TakeLease
from domain.runs import RunClaimed, RunEnded, RunRequested
from tests.contracts.log_writer import append_many, deploy_once
from tests.small_disks import on_a_small_disk
from tests.stores import MASTER_KEY

ME = Meta(actor="key:k1", workspace_id="w1", command_id="c1")
REQUESTED = RunRequested(
    run_id="r1",
    workspace_id="w1",
    deployment_id="d1",
    slug="echo",
    revision=1,
    agent_id="a1",
    agent_name="echo",
    message="hello",
)
KEY = bytes.fromhex(MASTER_KEY)


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Another database, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'restored' / 'log.db'}"
    else:
        server = request.getfixturevalue("postgres_server")
        url = server.new_database()
        yield url
        server.drop_database(url)


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Store]:
    store = await open_store(url)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def load_on(url: str) -> AsyncGenerator[asyncio.StreamReader]:
    """A process that appends all the while; yields what tells the number of each append."""
    command = ["-m", "tests.contracts.log_writer", "endless", url, "load"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.communicate()


async def fill(store: Store) -> None:
    """Make some of everything: answers, names, transcripts, work that is offered and held."""
    await deploy_once(Commands(store), "key-1")
    await append_many(store, "n", 16)
    claimed = RunClaimed(run_id="r1", attempt=1, worker="host-1")
    lease = TakeLease(owner="host-1", seconds=3600, address="10.0.0.1:1")
    start = Change(stream="run-r1", events=[REQUESTED], expected=0)
    claim = Change(stream="run-r1", events=[claimed], fence=1, lease=lease)
    await store.append([start, claim], ME)
    await store.leases.offer([Job(RUNS, "run-r2-1", "run-r2")], follower="dispatcher", position=5)
    await end_a_run(store)


async def end_a_run(store: Store) -> None:
    """Make a run with a transcript, ended with its root."""
    said = [MessageSaid(text=f"{number}") for number in range(5)]
    appended = await store.append([Change(stream="run-r3", events=said)], ME)
    frontier = Frontier()
    for each in appended.recorded:
        frontier = frontier.add(entry_leaf(each.version, each.type, each.data))
    end = RunEnded(
        run_id="r3",
        how="completed",
        attempt=1,
        entries=frontier.count,
        entries_root=frontier.root(),
    )
    await store.append([Change(stream="run-r3", events=[end])], ME)


@pytest.fixture
async def backup(tmp_path: Path) -> Path:
    """A backup of a log with something of everything."""
    url = f"sqlite:///{tmp_path / 'source.db'}"
    async with opened(url) as store:
        await fill(store)
    await take_backup(url, tmp_path / "backup")
    return tmp_path / "backup"


async def everything(store: Store) -> dict[str, list[Recorded[Any]]]:
    found: dict[str, list[Recorded[Any]]] = {}
    for row in await store.database.fetch("SELECT stream FROM streams ORDER BY stream", ()):
        found[row[0]] = await store.read(row[0], limit=10_000)
    return found


async def test_a_backup_under_load_is_restored_on_either_database(
    store: Store, database_url: str, empty_url: str, tmp_path: Path
) -> None:
    await fill(store)
    vault = await open_vault(store.database, KEY)
    reference = await vault.put("w1", "a secret")
    async with load_on(database_url) as told:
        acknowledged = 0
        while acknowledged < 20:
            acknowledged = int(await told.readline())

        taken = await take_backup(database_url, tmp_path / "backup")

        for _ in range(20):  # nobody was kept waiting for ever
            await told.readline()
    before = await everything(store)
    await restore(empty_url, tmp_path / "backup")

    assert verify(tmp_path / "backup") == taken
    async with opened(empty_url) as restored:
        assert await restored.head() == taken.position >= 3 * acknowledged
        log = await restored.read_all(after=0, limit=10_000)
        assert [each.position for each in log] == list(range(1, taken.position + 1))
        after = await everything(restored)
        assert {name: before[name][: len(events)] for name, events in after.items()} == after
        for number in range(1, acknowledged + 1):
            assert len(after[f"agent-load{number}"]) == 2
        assert len(after["run-shared"]) == len(before["run-shared"]) == 22

        assert await deploy_once(Commands(restored), "key-1")  # the answer of then
        assert await restored.head() == taken.position
        assert (
            await (await open_vault(restored.database, KEY)).reveal("w1", reference) == "a secret"
        )
        with pytest.raises(VersionConflict):
            await restored.append([Change(stream="run-r1", events=[REQUESTED], expected=0)], ME)
        more = await restored.append([Change(stream="run-r9", events=[REQUESTED])], ME)
        assert more.position == taken.position + 1


async def test_work_of_then_is_found_at_once(backup: Path, empty_url: str) -> None:
    await restore(empty_url, backup)

    async with opened(empty_url) as restored:
        expired = await restored.leases.expired(10)
        assert {(each.stream, each.owner, each.address) for each in expired} == {
            ("run-r1", "host-1", ""),
            ("run-r2", "", ""),
        }
        assert await restored.leases.progress("dispatcher") == 5


async def test_only_an_empty_database_takes_a_backup(backup: Path, database_url: str) -> None:
    async with opened(database_url) as store:
        await store.append([Change(stream="run-r1", events=[REQUESTED])], ME)

        with pytest.raises(Conflict, match="not empty"):
            await restore(database_url, backup)

        assert await store.head() == 1


async def test_a_backup_is_never_written_over_another(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="there already"):
        await take_backup(f"sqlite:///{tmp_path / 'source.db'}", backup)

    verify(backup)


async def test_a_log_that_is_not_there_is_not_backed_up(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await take_backup(f"sqlite:///{tmp_path / 'nothing.db'}", tmp_path / "none")

    assert not any(tmp_path.iterdir())  # noqa: ASYNC240


async def test_nothing_damaged_is_restored(backup: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'restored.db'}"
    for name in ("events-0001.jsonl.gz", "commands-0001.jsonl.gz", MANIFEST):
        for damage in (_flip, _cut, Path.unlink):
            copy = tmp_path / f"{name}-{damage.__name__}"
            shutil.copytree(backup, copy)
            damage(copy / name)
            with pytest.raises(Invalid):
                await restore(url, copy)
    assert not (tmp_path / "restored.db").exists()


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


# Any: rows as they are in JSON.
type Stored = dict[str, Any]


def _lacking(row: Stored) -> Stored | None:
    return None if row["position"] == 7 else row


def _doubled(row: Stored) -> Stored:
    return row | {"position": 3} if row["position"] == 7 else row


def _put_words_into(row: Stored) -> Stored:
    return row | {"data": "e30="} if row["type"] == "run.message_said" else row


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_lacking, "lacks version|position 7 is missing"),
        (_doubled, "there twice"),
        (_put_words_into, "the transcript of run-r3"),
    ],
)
async def test_a_log_that_was_made_up_is_not_restored(
    backup: Path, change: Callable[[Stored], Stored | None], why: str
) -> None:
    """Its digests are right, and the log is not."""
    path = backup / "events-0001.jsonl.gz"
    manifest = json.loads((backup / MANIFEST).read_text())
    columns = manifest["columns"]["events"]
    lines = gzip.decompress(path.read_bytes()).splitlines()
    rows = [change(dict(zip(columns, json.loads(line), strict=True))) for line in lines]
    kept = [json.dumps(list(row.values())) for row in rows if row]
    path.write_bytes(gzip.compress("\n".join([*kept, ""]).encode()))
    [file] = [each for each in manifest["files"] if each["name"] == path.name]
    file["bytes"], file["sha256"] = digest(path)
    file["rows"] = len(kept)
    (backup / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(Invalid, match=why):
        verify(backup)


@pytest.mark.parametrize("change", [{"format": FORMAT + 1}, {"database_schema": "9999"}])
def test_what_a_newer_version_made_is_refused_as_such(backup: Path, change: dict[str, Any]) -> None:
    manifest = json.loads((backup / MANIFEST).read_text())
    (backup / MANIFEST).write_text(json.dumps(manifest | change))

    with pytest.raises(Invalid, match="newer version"):
        verify(backup)


def test_every_table_and_column_is_kept() -> None:
    left_out = {"leaders", "log_head"}

    kept = {each.name: (list(each.columns), list(each.key)) for each in KEPT}

    assert kept == {
        name: (
            [column.name for column in table.columns],
            [column.name for column in table.primary_key],
        )
        for name, table in metadata.tables.items()
        if name not in left_out
    }


def test_a_full_disk_leaves_no_backup_and_a_later_one_succeeds() -> None:
    on_a_small_disk(
        """
        import asyncio, os
        from adapters.backups.taking import take_backup
        from adapters.backups.verifying import verify
        from adapters.event_store.store import open_store
        from domain.agents import AgentCreated
        from domain.errors import Unavailable
        from domain.ports import Change, Meta

        async def main():
            url = f"sqlite:///{disk}/log.db"
            me = Meta(actor="a", workspace_id="w", command_id="c")
            store = await open_store(url)
            for n in range(64):
                made = AgentCreated(agent_id=str(n), workspace_id="w", name=os.urandom(4096).hex())
                await store.append([Change(stream=f"agent-{n}", events=[made])], me)
            await store.close()
            filler = disk / "filler"
            with filler.open("wb") as file:
                left = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                file.write(bytes(left - 150_000))
            try:
                await take_backup(url, disk / "backup")
            except Unavailable as error:
                assert "No space" in error.detail, error.detail
            else:
                raise AssertionError("there was room")
            assert not (disk / "backup").exists()
            assert not (disk / ".backup.unfinished").exists()
            filler.unlink()
            await take_backup(url, disk / "backup")
            verify(disk / "backup")

        asyncio.run(main())
        """,
        "size=6m",
    )


def test_a_full_disk_in_the_middle_of_a_restore_leaves_an_empty_log() -> None:
    on_a_small_disk(
        """
        import asyncio, os, tempfile
        from pathlib import Path
        from adapters.backups.restoring import restore
        from adapters.backups.taking import take_backup
        from adapters.event_store.store import open_store
        from domain.agents import AgentCreated
        from domain.errors import Unavailable
        from domain.ports import Change, Meta

        async def main(folder):
            source, url = f"sqlite:///{folder}/log.db", f"sqlite:///{disk}/log.db"
            me = Meta(actor="a", workspace_id="w", command_id="c")
            store = await open_store(source)
            for n in range(256):
                made = AgentCreated(agent_id=str(n), workspace_id="w", name=os.urandom(8192).hex())
                await store.append([Change(stream=f"agent-{n}", events=[made])], me)
            await store.close()
            await take_backup(source, folder / "backup")
            try:
                await restore(url, folder / "backup")
            except Unavailable as error:
                assert "Nothing was restored" in error.detail, error.detail
            else:
                raise AssertionError("there was room")
            store = await open_store(url)
            assert await store.head() == 0
            await store.close()

        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(main(Path(folder)))
        """,
        "size=2m",
    )
