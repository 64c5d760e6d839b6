"""A log that an earlier version wrote is read, folded, projected, verified, and gone on with.

`tests/golden/logs/<schema>.sql.gz` are such logs, as `sqlite3 .dump` writes them. One is added when
the schema changes; none is ever changed or removed.
"""

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from adapters.backups.taking import take_backup
from adapters.backups.verifying import verify
from adapters.event_store.migrate import REVISION
from adapters.event_store.store import open_store
from api.streams import DECIDERS
from domain.decider import Unknown
from domain.handling import Commands
from domain.ids import new_id, split_stream
from domain.ports import Meta
from domain.runs import RUN, RequestRun, RunEnded
from projections import generations
from projections.databases import open_database
from projections.rebuilding import Parts
from projections.registry import PROJECTIONS
from tests.goldens import FOLDER
from tests.projections.histories import built, requested, whole_table

LOGS = sorted((FOLDER / "logs").glob("*.sql.gz"))


def test_there_is_a_log_of_every_schema() -> None:
    assert LOGS[-1].name == f"{REVISION}.sql.gz"


@pytest.mark.parametrize("dump", LOGS, ids=lambda dump: dump.name)
async def test_a_log_of_then_works_now(dump: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        connection.executescript(gzip.decompress(dump.read_bytes()).decode())  # noqa: ASYNC240
    store = await open_store(url)
    engine = open_database(f"sqlite:///{tmp_path / 'read.db'}", writes=True)
    try:
        log = await store.read_all(after=0, limit=10_000)
        assert [each.position for each in log] == list(range(1, await store.head() + 1))
        for stream in {each.stream for each in log}:
            history = await store.read(stream, limit=10_000)
            assert not any(isinstance(each.event, Unknown) for each in history)
            decider = DECIDERS[split_stream(stream)[0]]
            folding = [each.event for each in history if each.position is not None]
            assert decider.fold(folding) != decider.initial

        parts = Parts(store=store, leases=store.leases, engine=engine, owner="here")
        await generations.create_bookkeeping(engine)
        await built(parts)
        rows = {each.name: len(await whole_table(parts, each)) for each in PROJECTIONS}
        ended = [each for each in log if isinstance(each.event, RunEnded)]
        assert rows["runs"] == len(ended) == 3
        assert all(rows[name] for name in rows if name not in {"builds", "drafts"})

        run_id = new_id()
        command = RequestRun(request=requested(run_id))
        meta = Meta(actor="key:k1", workspace_id="w", command_id=new_id())
        await Commands(store).send(RUN, run_id, command, meta)
        assert await store.head() == len(log) + 1
        await take_backup(url, tmp_path / "backup")
        assert verify(tmp_path / "backup").position == len(log) + 1
    finally:
        await engine.dispose()
        await store.close()
