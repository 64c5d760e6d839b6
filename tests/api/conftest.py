"""The API on a real SQLite log, with its read models, and fakeredis for the hints."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import fakeredis
import httpx
import pytest
import uvicorn
from litestar import Litestar

from adapters import wiring
from adapters.settings import Concealed, Settings
from adapters.wiring import Services, open_services
from api.app import create_app
from api.bootstrap import Bootstrapped, bootstrap
from api.connections import Connection
from api.serving import server_config
from domain.decider import Event
from domain.execution import Base
from domain.ids import new_id
from domain.ports import Change, Meta
from projections import generations
from projections.databases import open_database
from projections.projector import Projector
from projections.reads import ReadModels, open_reads
from projections.rebuilding import Parts
from projections.registry import PROJECTIONS
from tests.stores import MASTER_KEY

KEY = "argosy_key_of_the_tests_0000000000000000000000000000"
BASE = Base(name="python", python="3.11")


class Api:
    """The application, a client with an admin key, and the log behind it."""

    def __init__(
        self, services: Services, app: Litestar, client: httpx.AsyncClient, first: Bootstrapped
    ) -> None:
        self.services = services
        self.app = app
        self.client = client
        self.first = first

    async def ask(
        self, method: str, path: str, *, key: str | None = KEY, **request: Any
    ) -> httpx.Response:
        """Send a request with a key."""
        headers = dict(request.pop("headers", {}))
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key}")
        return await self.client.request(method, path, headers=headers, **request)

    async def make_key(self, role: str, workspace: str | None = None, **more: Any) -> str:
        """Make a key; returns it."""
        body = {"name": role, "role": role, "workspace": workspace, **more}
        made = await self.ask("POST", "/v1/keys", json=body)
        assert made.status_code == 201, made.text
        return made.json()["key"]

    async def workspace_id(self, slug: str = "default") -> str:
        """Return a workspace's id."""
        return (await self.ask("GET", f"/v1/workspaces/{slug}")).json()["id"]

    async def deploy(self, name: str = "echo", **more: Any) -> dict[str, Any]:
        """Deploy a small agent natively."""
        body = {"name": name, "source": {"files": {"agent.py": "print('hello')\n"}}, **more}
        made = await self.ask("POST", "/v1/workspaces/default/deployments", json=body)
        assert made.status_code == 201, made.text
        return made.json()

    async def request_run(self, name: str = "echo", **more: Any) -> dict[str, Any]:
        """Request a run of a deployment."""
        path = f"/v1/workspaces/default/deployments/{name}/runs"
        made = await self.ask("POST", path, json={"message": "hi", **more})
        assert made.status_code == 202, made.text
        return made.json()

    async def append(self, stream: str, *events: Event, workspace_id: str | None = None) -> int:
        """Append to the log as a worker would; returns the log's position."""
        meta = Meta(
            actor="worker:test",
            workspace_id=workspace_id or await self.workspace_id(),
            command_id=new_id(),
        )
        change = Change(stream=stream, events=events)
        return (await self.services.store.append([change], meta)).position

    async def new_types(self, after: int) -> Sequence[str]:
        """Return the types of what was appended to the log after a position."""
        return [each.type for each in await self.services.store.read_all(after=after)]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a first key and all read models, for tests to begin with a copy of."""
    directory = tmp_path_factory.mktemp("prepared")

    async def prepare() -> None:
        with pytest.MonkeyPatch.context() as patch:
            async with _opened(directory, patch) as services, _read(services) as reads:
                await bootstrap(services, api_key=KEY)
                head = await services.store.head()
                for projection in PROJECTIONS:
                    await reads.wait_for(projection.name, head, 30.0)

    asyncio.run(prepare())
    return directory


@pytest.fixture
async def services(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Services]:
    """All parts of a process, with fakeredis where Redis would be."""
    directory = tmp_path / "data"
    shutil.copytree(prepared, directory)
    async with _opened(directory, monkeypatch) as opened:
        yield opened


@pytest.fixture
async def reads(services: Services) -> AsyncIterator[ReadModels]:
    """The read models, fed by a projector."""
    async with _read(services) as opened:
        yield opened


@pytest.fixture
async def api(services: Services, reads: ReadModels) -> AsyncIterator[Api]:
    """The application in this process, without a socket."""
    first = await bootstrap(services, api_key=KEY)
    app = create_app(services, reads, base=BASE)
    transport = httpx.ASGITransport(app=app)  # pyright: ignore[reportArgumentType]  # ASGI's types
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://argosy") as client,
        _running(app),
    ):
        yield Api(services, app, client, first)


@pytest.fixture
async def served(services: Services, reads: ReadModels) -> AsyncIterator[Api]:
    """The application behind a real server on loopback, for what streams."""
    first = await bootstrap(services, api_key=KEY)
    app = create_app(services, reads, base=BASE)
    async with listening(app) as url, httpx.AsyncClient(base_url=url) as client:
        yield Api(services, app, client, first)


@asynccontextmanager
async def _opened(directory: Path, patch: pytest.MonkeyPatch) -> AsyncGenerator[Services]:
    server = fakeredis.FakeServer()

    def connect(_: str) -> fakeredis.FakeAsyncRedis:
        return fakeredis.FakeAsyncRedis(server=server)

    def connect_blocking(_: str) -> fakeredis.FakeRedis:
        return fakeredis.FakeRedis(server=server)

    patch.setattr(wiring, "connect", connect)
    patch.setattr(wiring, "connect_blocking", connect_blocking)
    settings = Settings(data=directory, master_key=Concealed(MASTER_KEY))
    async with open_services(settings, name="api", needs_vault=True) as opened:
        yield opened


@asynccontextmanager
async def _read(services: Services) -> AsyncGenerator[ReadModels]:
    url = services.settings.read_url
    async with AsyncExitStack() as stack:
        engine = open_database(url, writes=True)
        stack.push_async_callback(engine.dispose)
        await generations.create_bookkeeping(engine)
        parts = Parts(store=services.store, leases=services.leases, engine=engine, owner=new_id())
        projector = asyncio.create_task(Projector(parts).run())
        stack.push_async_callback(_cancelled, projector)
        opened = await open_reads(url, services.hurry)
        stack.push_async_callback(opened.close)
        yield opened


class _Server(uvicorn.Server):
    """Leaves the test run's signals alone."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Do nothing."""
        yield


@asynccontextmanager
async def listening(
    app: Litestar, *, connection: type[Connection] = Connection
) -> AsyncGenerator[str]:
    """Serve an application on a free port; yields its URL."""
    config = server_config(app, host="127.0.0.1", port=0, connection=connection)
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        app.state.shared.hub.close()
        # As in tests/accepting.py: what was accepted just now has to become a connection first.
        for each in [sock for one in server.servers for sock in one.sockets]:
            asyncio.get_running_loop().remove_reader(each.fileno())
        await asyncio.sleep(0)
        server.should_exit = True
        await task


@asynccontextmanager
async def _running(app: Litestar) -> AsyncGenerator[None]:
    """Run the application's lifespan in a task of its own, as it must end where it began."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        async with app.lifespan():
            started.set()
            await stop.wait()

    task = asyncio.create_task(run())
    await started.wait()
    yield
    stop.set()
    await task


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
