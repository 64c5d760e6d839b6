"""A container engine on this machine, as far as sandboxes need it: Docker's API, by its socket.

Podman's socket speaks it, too. What differs between the two is known here.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import msgspec
from aiodocker import Docker, DockerError
from msgspec import Struct

from workers.sandboxes.container_layout import Layout, Shown, image_of
from workers.sandboxes.container_seccomp import profile
from workers.sandboxes.driver import SandboxUnsupported, Spec
from workers.sandboxes.groups import PERIOD_US, quota_us

SCHEME = "unix://"
ANSWER_SECONDS = 10.0
LABEL = "dev.argosy.sandbox"
REMOVE_SECONDS = 20.0
OUR_PROCESSES = 2  # pid 1 inside, and the one that ends it with its owner
MB = 1 << 20


class _Component(Struct, rename="pascal"):
    name: str = ""


class _Version(Struct, rename="pascal"):
    api_version: str
    version: str = ""
    os: str = ""
    components: list[_Component] | None = None


class Engine(Struct, frozen=True):
    """An engine that answered once. url: its socket. api: the version of its API. name: for people.

    podman: whether it is that, and not Docker.
    """

    url: str
    api: str
    name: str
    podman: bool


class Plan(Struct, frozen=True):
    """A container to be made. folder: where a file for the engine may be written."""

    name: str
    spec: Spec
    layout: Layout
    uid: int
    command: list[str]
    folder: Path


class Left(Struct, frozen=True):
    """A container of a sandbox, by its label."""

    id: str
    sandbox: str


def find_engine(url: str) -> Engine:
    """Ask the engine of the setting ARGOSY_ENGINE who it is. Raises SandboxUnsupported."""
    path = url.removeprefix(SCHEME)
    if path == url or not path.startswith("/"):
        raise SandboxUnsupported(
            "Containers need a container engine of this machine: set ARGOSY_ENGINE to its API's "
            "socket, such as unix:///run/podman/podman.sock or unix:///run/docker.sock."
        )
    try:
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=path), timeout=ANSWER_SECONDS
        ) as client:
            answer = client.get("http://engine/version").raise_for_status()
            said = msgspec.json.decode(answer.content, type=_Version)
    except (httpx.HTTPError, OSError, msgspec.MsgspecError) as error:
        raise SandboxUnsupported(
            f"The container engine at {url} does not answer: {error}"
        ) from error
    if said.os not in ("", "linux"):
        raise SandboxUnsupported(f"The container engine at {url} has containers of {said.os}.")
    podman = any(component.name.startswith("Podman") for component in said.components or ())
    name = f"{'Podman' if podman else 'Docker'} {said.version}"
    return Engine(url=url, api=f"v{said.api_version}", name=name, podman=podman)


class Containers:
    """The containers of an engine. Everything raises SandboxUnsupported where it fails."""

    def __init__(self, docker: Docker, engine: Engine) -> None:
        self._images: Any = docker.images  # both are untyped there in part
        self._containers: Any = docker.containers
        self._engine = engine

    async def create(self, plan: Plan) -> None:
        """Make one, with the sandbox's name."""
        image, archive = image_of(plan.layout.symlinks)
        with _heard("making a container"):
            try:
                await self._images.inspect(image)
            except DockerError as error:
                if error.status != 404:
                    raise
                await self._images.import_image(archive)
            configuration = self._configuration(plan, image)
            await self._containers.create(configuration, name=plan.name)

    async def start(self, name: str) -> None:
        with _heard("starting a container"):
            await self._containers.container(name).start()

    async def look(self, name: str) -> dict[str, Any]:
        """What the engine knows of one."""
        with _heard("looking at a container"):
            return await self._containers.container(name).show()

    async def remove(self, name: str) -> None:
        """Forget one, ended or not. Harmless if there is none.

        An engine that is just tidying up after one may refuse: it is asked again for a while.
        """
        pause = 0.02
        with _heard("removing a container"):
            async with asyncio.timeout(REMOVE_SECONDS):
                while not await self._try_to_remove(name):
                    await asyncio.sleep(pause)
                    pause = min(0.5, pause * 2)

    async def all(self) -> list[Left]:
        """Those of sandboxes, whoever owns them."""
        with _heard("listing containers"):
            found = await self._containers.list(
                all=True, filters=msgspec.json.encode({"label": [LABEL]}).decode()
            )
        labels: list[tuple[str, dict[str, str]]] = [(each.id, each["Labels"]) for each in found]
        return [Left(id=id_, sandbox=names.get(LABEL, "")) for id_, names in labels]

    async def _try_to_remove(self, name: str) -> bool:
        try:
            await self._containers.container(name).delete(force=True, v=True)
        except DockerError as error:
            return error.status == 404
        return True

    def _configuration(self, plan: Plan, image: str) -> dict[str, Any]:
        spec, limits = plan.spec, plan.spec.limits
        memory = limits.memory_mb * MB
        return {
            "Image": image,
            "Labels": {LABEL: plan.name},
            "Entrypoint": plan.command,
            "Cmd": [],
            "User": f"{plan.uid}:{plan.uid}",
            "Hostname": spec.hostname,
            "WorkingDir": spec.working_directory,
            "Env": [],
            "HostConfig": {
                "NetworkMode": "none",
                "IpcMode": "private",
                "CgroupnsMode": "private",
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges", f"seccomp={self._seccomp(plan.folder)}"],
                "Memory": memory,
                "MemorySwap": memory,  # with swap: so there is none
                "CpuPeriod": PERIOD_US,
                "CpuQuota": quota_us(limits.cpu),
                "PidsLimit": limits.pids + OUR_PROCESSES,
                "ShmSize": spec.tmp_mb * MB,
                "Mounts": [_bind(mount) for mount in plan.layout.mounts if mount.source],
                "Tmpfs": {
                    mount.target: self._tmpfs(mount)
                    for mount in plan.layout.mounts
                    if not mount.source
                },
                "LogConfig": {"Type": "none", "Config": {}},
            },
        }

    def _seccomp(self, folder: Path) -> str:
        """Docker takes the profile, Podman the file that it is in."""
        if not self._engine.podman:
            return profile().decode()
        file = folder / "seccomp.json"
        file.write_bytes(profile())
        return str(file)

    def _tmpfs(self, mount: Shown) -> str:
        options = f"rw,nosuid,nodev,exec,size={mount.size_mb * MB},mode=1777"
        return f"{options},notmpcopyup" if self._engine.podman else options


@asynccontextmanager
async def reach(engine: Engine) -> AsyncGenerator[Containers]:
    """Open a connection to the engine, of its own."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS)
    async with Docker(engine.url, timeout=timeout, api_version=engine.api) as docker:
        yield Containers(docker, engine)
        await asyncio.sleep(0)  # the connection is closed by the loop's next step


@contextmanager
def _heard(what: str) -> Generator[None]:
    try:
        yield
    except DockerError as error:
        raise SandboxUnsupported(f"The container engine failed, {what}: {error.message}") from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        words = f"The container engine does not answer ({what}): {error}"
        raise SandboxUnsupported(words) from error


def _bind(mount: Shown) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.kind != "writable",
        # What is mounted below a layer would not be read-only, so it is not shown.
        "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
    }
