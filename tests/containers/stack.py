"""Everything that compose.yaml describes, started on one private network."""

import json
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chaos.programs import make_wheels
from tests.containers.composing import flags_of, read_compose, words_of
from tests.containers.engine import Engine, as_flags
from tests.containers.stand_ins import POSTGRES, VALKEY, make_images
from tests.e2e.servers import ROOT
from tests.machines.network import Machine, Network

IMAGE = "argosy"
FIRST = ("postgres", "redis")
PRIVILEGES = ("cap_add", "security_opt")
_IMAGES = {"postgres:17": POSTGRES, "valkey/valkey:9": VALKEY, IMAGE: f"localhost/{IMAGE}"}
_HOSTS = ("--add-host=postgres:127.0.0.1", "--add-host=redis:127.0.0.1")
READY_SECONDS = 90.0
FIRST_METRICS_PORT = 9464


class Stack:
    """One run of it. `without`: `service:PRIVILEGE`, which it is not given."""

    def __init__(self, engine: Engine, machine: Machine, root: Path, without: str = "") -> None:
        self.services = read_compose()
        self._engine = engine
        self._machine = machine
        self._root = root
        self._without = without
        self._prefix = f"argosy-{root.name}-"
        self._secret = root / "master_key"
        self._secret.write_text("7" * 64)
        self._secret.chmod(0o444)
        self._wheels = root / "wheels"
        make_wheels(self._wheels)

    def start(self) -> None:
        """Start all services in their order; returns when they are ready."""
        for name in (*FIRST, *(each for each in self.services if each not in FIRST)):
            self._begin(name)
            if name in FIRST:
                test = self.services[name]["healthcheck"]["test"]
                self._until(lambda name=name, test=test: self._is_healthy(name, test[1:]), name)
        for name in self.services:
            if name not in FIRST:
                self._until(lambda name=name: self._is_ready(name), name)

    def once(self, service: str, *command: str) -> str:
        """Run a command in a new container of a service, as `docker compose run --rm` does."""
        return self._engine.run("run", "--rm", *self._flags(service), *command)

    def inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container of a service."""
        return self._engine.try_("exec", self._name(service), *command)

    def logs(self, service: str) -> str:
        """Return what a service has said."""
        return self._engine.run("logs", self._name(service), check=False)

    def state(self, service: str) -> Mapping[str, Any]:
        """Return what the engine knows of a service's container."""
        return json.loads(self._engine.run("inspect", self._name(service)))[0]

    def stop(self) -> dict[str, int]:
        """Stop all in order; returns the exit codes."""
        codes: dict[str, int] = {}
        for name in reversed((*FIRST, *(each for each in self.services if each not in FIRST))):
            self._engine.run("stop", "--time", "45", self._name(name), check=False)
            codes[name] = self.state(name)["State"]["ExitCode"]
        return codes

    def remove(self) -> None:
        """Remove containers and volumes."""
        for name in self.services:
            self._engine.run("rm", "--force", "--volumes", self._name(name), check=False)
        self._engine.run("volume", "prune", "--force", check=False)

    def _begin(self, name: str) -> None:
        service = self.services[name]
        command = words_of(service.get("command", []))
        # How programs get their packages is the network's business, and there is none here.
        extra = as_flags("--volume", [f"{self._wheels}:/wheels:ro"])
        extra += as_flags("--env", {"ARGOSY_PACKAGE_INDEX": "/wheels"})
        flags = [*self._flags(name)[:-1], *extra, self._flags(name)[-1]]
        self._engine.run("run", "--detach", "--name", self._name(name), *flags, *command)

    def _flags(self, name: str) -> list[str]:
        service = dict(self.services[name])
        for kind in PRIVILEGES:
            given = service.get(kind, [])
            service[kind] = [each for each in given if f"{name}:{each}" != self._without]
        flags = flags_of(service, {"master_key": self._secret})
        # Here all have one address; where compose starts them each has its own.
        port = FIRST_METRICS_PORT + list(self.services).index(name)
        flags += as_flags("--env", {"ARGOSY_METRICS_PORT": str(port)})
        network = f"--network=ns:/proc/{self._machine.pid}/ns/net"
        return [network, *_HOSTS, *flags, _IMAGES[service["image"]]]

    def _name(self, service: str) -> str:
        return self._prefix + service

    def _is_healthy(self, name: str, test: list[str]) -> bool:
        return self.inside(name, *test).returncode == 0

    def _is_ready(self, name: str) -> bool:
        said = self.logs(name)
        return '"ready"' in said or '"api.serving"' in said

    def _until(self, true: Any, what: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not true():
            on_its_way = self.state(what)["State"]["Running"] and time.monotonic() < deadline
            assert on_its_way, f"{what} does not start: {self.logs(what)[-4000:]}"
            time.sleep(0.2)


@contextmanager
def stack(engine: Engine, without: str = "") -> Generator[tuple[Stack, Machine]]:
    """Make a network and a stack on it; both are removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="argosy-containers-") as name:
        root = Path(name)
        root.chmod(0o755)
        network = Network(root)
        machine = network.machine("containers")
        found = Stack(engine, machine, root, without)
        try:
            yield found, machine
        finally:
            found.remove()
            network.close()


def make_everything(engine: Engine, scratch: Path) -> None:
    """Make Argosy's image from its Dockerfile, and those it needs."""
    make_images(engine, scratch)
    engine.run("build", "--network", "host", "--tag", IMAGE, str(ROOT), seconds=900)
    engine.run("image", "prune", "--force")  # what had the tag before
