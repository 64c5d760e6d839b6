"""Rebuilding a read model from the whole log, against eventsourcing's ProjectionRunner.

Both on a PostgreSQL server that syncs, from the same histories of runs to a table of the same
columns. Ours includes making the indexes and switching the table in; theirs has only its key.
"""

import asyncio
import time
from contextlib import closing
from itertools import count
from typing import Any, LiteralString
from uuid import UUID, uuid4

import uvloop
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate
from eventsourcing.domain import event as changes
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg.sql import SQL, Identifier

from adapters.event_store.store import open_store
from bench.logs import ME, durable_server
from bench.rounds import compare
from domain.ids import new_id
from domain.ports import Change
from domain.runs import RunClaimed, RunEnded, RunRequested, RunStarted
from projections import generations
from projections.databases import open_database
from projections.rebuilding import Parts, rebuild
from projections.runs import RUNS

OUR_RUNS = 10_000  # of four events each
THEIR_RUNS = 250
MESSAGE = "What a person asks an agent for: some words, not many, with what has to be known. "


def main() -> int:
    """Print one line. Always 0: it only measures."""
    with durable_server() as server:
        ours, theirs = server.new_database(), server.new_database()
        uvloop.run(_fill(ours))
        environment = _environment(theirs)
        _fill_theirs(environment)
        names = (f"runs_{number}" for number in count(1))
        compare(
            "rebuild-eventsourcing",
            lambda: uvloop.run(_rebuild(ours)),
            lambda: _project_theirs(environment, next(names)),
            aim=100,
        )
    return 0


async def _fill(url: str) -> None:
    store = await open_store(url)
    for _ in range(0, OUR_RUNS, 200):
        runs = [_history() for _ in range(200)]
        # As several hosts make them: the events of many runs lie between two of one run.
        for turn in zip(*runs, strict=True):
            await asyncio.gather(
                *(
                    store.append([Change(stream=f"run-{event.run_id}", events=[event])], ME)
                    for event in turn
                )
            )
    await store.close()


def _history() -> tuple[RunRequested, RunClaimed, RunStarted, RunEnded]:
    id = new_id()
    return (
        RunRequested(
            run_id=id,
            workspace_id="workspace-1",
            agent_id=new_id(),
            agent_name="greeter",
            deployment_id=new_id(),
            slug="greeter",
            revision=3,
            message=MESSAGE,
        ),
        RunClaimed(run_id=id, attempt=1, worker="host-1"),
        RunStarted(run_id=id, attempt=1, sandbox="sandbox-1", stages={"layers": 3.5}),
        RunEnded(run_id=id, how="completed", attempt=1, exit_code=0, output=MESSAGE),
    )


async def _rebuild(url: str) -> float:
    """Events a second, from an empty table to one that is served."""
    store = await open_store(url)
    engine = open_database(url, writes=True)
    await generations.create_bookkeeping(engine)
    parts = Parts(store=store, leases=store.leases, engine=engine, owner="bench")
    started = time.perf_counter()
    built = await rebuild(parts, RUNS, fresh=True)
    took = time.perf_counter() - started
    await engine.dispose()
    await store.close()
    return built.position / took


class BenchRun(Aggregate):
    """The same histories as the library's aggregates."""

    class Requested(Aggregate.Created):
        """As `RunRequested`."""

        workspace_id: str
        agent_id: str
        agent_name: str
        deployment_id: str
        slug: str
        revision: int
        message: str

    class Claimed(Aggregate.Event):
        """As `RunClaimed`."""

        attempt: int

    class Started(Aggregate.Event):
        """As `RunStarted`."""

        sandbox: str

    class Ended(Aggregate.Event):
        """As `RunEnded`."""

        how: str
        output: str

    @changes(Requested)
    def __init__(  # noqa: PLR0917  # what its event has
        self,
        workspace_id: str,
        agent_id: str,
        agent_name: str,
        deployment_id: str,
        slug: str,
        revision: int,
        message: str,
    ) -> None:
        self.about = (workspace_id, agent_id, agent_name, deployment_id, slug, revision, message)
        self.attempt = 0
        self.status = "waiting"
        self.output = ""

    @changes(Claimed)
    def claim(self, attempt: int) -> None:
        """A worker takes it."""
        self.attempt = attempt

    @changes(Started)
    def start(self, sandbox: str) -> None:
        """Its program runs."""
        self.status = f"running in {sandbox}"

    @changes(Ended)
    def end(self, how: str, output: str) -> None:
        """It is over."""
        self.status, self.output = how, output


class BenchRuns(Application[UUID]):
    """Keeps them."""


class BenchView(PostgresTrackingRecorder):
    """The read model: one transaction an event, as the library has it."""

    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.table = self.tracking_table_name.removesuffix("_tracking")
        create = SQL(
            "CREATE TABLE IF NOT EXISTS {} (id uuid PRIMARY KEY, workspace_id text, agent_id text,"
            " agent_name text, deployment_id text, slug text, revision int, status text,"
            " message text, output text, attempt int, created_at timestamptz,"
            " started_at timestamptz, ended_at timestamptz)"
        )
        self.sql_create_statements.append(create.format(Identifier(self.table)))

    def write(self, text: LiteralString, values: tuple[Any, ...], tracking: Tracking) -> None:
        """Run one statement, and move the checkpoint."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(SQL(text).format(Identifier(self.table)), values, prepare=True)


class BenchProjection(Projection[BenchView]):
    """The same statements as ours, before they are joined."""

    topics = tuple(
        get_topic(each)
        for each in (BenchRun.Requested, BenchRun.Claimed, BenchRun.Started, BenchRun.Ended)
    )

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Every event is one of those below."""
        raise TypeError(domain_event, tracking)

    @process_event.register
    def _(self, event: BenchRun.Requested, tracking: Tracking) -> None:
        values = (
            event.originator_id,
            event.workspace_id,
            event.agent_id,
            event.agent_name,
            event.deployment_id,
            event.slug,
            event.revision,
            event.message,
            event.timestamp,
        )
        text = (
            "INSERT INTO {} (id, workspace_id, agent_id, agent_name, deployment_id, slug, revision,"
            " message, created_at, status) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'waiting')"
        )
        self.view.write(text, values, tracking)

    @process_event.register
    def _(self, event: BenchRun.Claimed, tracking: Tracking) -> None:
        values = (event.attempt, event.originator_id)
        self.view.write("UPDATE {} SET attempt = %s WHERE id = %s", values, tracking)

    @process_event.register
    def _(self, event: BenchRun.Started, tracking: Tracking) -> None:
        values = (event.timestamp, event.originator_id)
        text = "UPDATE {} SET status = 'running', started_at = %s WHERE id = %s"
        self.view.write(text, values, tracking)

    @process_event.register
    def _(self, event: BenchRun.Ended, tracking: Tracking) -> None:
        values = (event.how, event.output, event.timestamp, event.originator_id)
        text = "UPDATE {} SET status = %s, output = %s, ended_at = %s WHERE id = %s"
        self.view.write(text, values, tracking)


def _environment(url: str) -> dict[str, str]:
    address = url.removeprefix("postgresql://argosy@")
    host, _, rest = address.partition(":")
    port, _, name = rest.partition("/")
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": name,
        "POSTGRES_HOST": host,
        "POSTGRES_PORT": port,
        "POSTGRES_USER": "argosy",
        "POSTGRES_PASSWORD": "",
    }


def _fill_theirs(environment: dict[str, str]) -> None:
    runs = [
        BenchRun("workspace-1", str(uuid4()), "greeter", str(uuid4()), "greeter", 3, MESSAGE)
        for _ in range(THEIR_RUNS)
    ]
    with closing(BenchRuns(environment)) as application:
        application.save(*runs)
        for run in runs:
            run.claim(1)
        application.save(*runs)
        for run in runs:
            run.start("sandbox-1")
        application.save(*runs)
        for run in runs:
            run.end("completed", MESSAGE)
        application.save(*runs)


def _project_theirs(environment: dict[str, str], name: str) -> float:
    """Events a second, from an empty table to one that has everything."""
    projection = type("Once", (BenchProjection,), {"name": name})
    last = THEIR_RUNS * 4
    started = time.perf_counter()
    with ProjectionRunner(
        application_class=BenchRuns,
        projection_class=projection,
        view_class=BenchView,
        env=environment,
    ) as runner:
        runner.wait(last, timeout=120)
        return last / (time.perf_counter() - started)
