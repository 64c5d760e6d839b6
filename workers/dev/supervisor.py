"""The dev server: starts its processes, starts again what dies, and stops everything."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from adapters.settings import read_settings
from domain.errors import Conflict, Unavailable
from workers.dev.directory import DataDirectory
from workers.dev.following import Follower, get
from workers.dev.processes import (
    Child,
    Signals,
    adopt_orphans,
    end_descendants,
    reaped,
)
from workers.dev.redis_server import answers, redis_command
from workers.dev.telling import Teller

REDIS_SECONDS = 10.0
READY_SECONDS = 60.0
TELL_SECONDS = 5.0  # between two lines that say what is waited for
# What is under way may go on for so long after Ctrl-C, unless the environment says otherwise.
DRAIN_SECONDS = 3.0
CLOSE_SECONDS = 5.0  # what children may take besides; then they are killed
MOST_DEATHS_BEFORE_READY = 3
POLL_SECONDS = 0.05
WORKSPACE = "default"
LOG = "log.db"
MASTER_KEY = "ARGOSY_MASTER_KEY"
NEED_MASTER_KEY = ("api", "host-")  # children, by the beginning of their names


class Stopped(Exception):
    """Somebody asked for the end."""


class Supervisor:
    """Runs one dev server on `directory` until it is asked to stop."""

    def __init__(
        self, directory: DataDirectory, teller: Teller, *, host: str, port: int, workers: int
    ) -> None:
        self._directory = directory
        self._teller = teller
        self._host, self._port = host, port
        self._reached = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104
        self._key = directory.key()
        self._socket = directory.socket("redis.sock")
        self._children: list[Child] = []
        self._workers = workers
        self._stopping = False
        self._signals = Signals()
        settings = read_settings(self._environment("host-1"))
        self._stop_seconds = settings.unready_seconds + settings.drain_seconds + CLOSE_SECONDS

    def run(self) -> int:
        """Start, watch, stop; returns the exit code. Raises Conflict or Unavailable."""
        adopt_orphans()
        self._check_port()
        follower = None
        try:
            self._start()
            follower = self._ready()
            while True:
                self._watch(self._until_due())
        except Stopped:
            self._teller.say("argosy", "stopping")
            return 0
        finally:
            if follower is not None:
                follower.stop()
            self._stop()
            self._teller.say("argosy", "stopped")

    def _start(self) -> None:
        self._teller.say("argosy", f"starting on {self._directory.path}")
        if "ARGOSY_REDIS" not in os.environ:
            redis = self._child("redis", redis_command(self._socket, self._directory.path))
            redis.start(self._environment("redis"))
            self._wait(lambda: answers(self._socket), REDIS_SECONDS, "Redis")
        self._find_master_key()
        modules = {
            "api": ["api"],
            "core": ["workers.dev.core"],
            **{f"host-{n}": ["workers", "host"] for n in range(1, self._workers + 1)},
            "build": ["workers", "build"],
        }
        for name, module in modules.items():
            child = self._child(name, [sys.executable, "-m", *module])
            child.start(self._environment(name))

    def _find_master_key(self) -> None:
        """Make the master key at the first start. Raises Unavailable where it got lost."""
        file = self._directory.master_key
        if file.exists() or _has_master_key():
            return
        if "ARGOSY_DATABASE" in os.environ or (self._directory.path / LOG).exists():
            command = ["workers.dev.vault", str(file)]
            self._once("vault", command, "The vault cannot be opened")
        self._directory.make_master_key()

    def _ready(self) -> Follower:
        def ready() -> bool:
            return get(self._reached, self._port, "/readyz")[1].get("status") == "ok"

        self._once("bootstrap", ["api", "bootstrap"], "The workspace and the key cannot be made")
        walls = self._once("check", ["workers", "check"], "No agent can be run here")
        self._wait(ready, READY_SECONDS, "the API")
        url = f"http://{self._shown(self._reached)}:{self._port}"
        self._directory.announce(url, self._key, WORKSPACE)
        lines = greeting(url, self._key, self._directory, walls)
        self._teller.block(lines, what="ready", url=url, api_key=self._key, sandbox=walls)
        _, page = get(self._reached, self._port, "/v1/events?limit=1", self._key)
        after = page.get("position", 0)
        follower = Follower(self._reached, self._port, self._key, after, self._teller.event)
        follower.start()
        return follower

    def _once(self, name: str, module: list[str], failing: str) -> str:
        """Run a program to its end; returns the last line it printed. Raises Unavailable."""
        child = self._child(name, [sys.executable, "-m", *module], once=True)
        child.start(self._environment(name))
        self._wait(lambda: child.pid is None, READY_SECONDS, f"the {name}")
        if child.code:
            raise Unavailable(_gave_up(failing, child))
        said = child.last_lines(1)
        child.log.unlink()  # the bootstrap's says the key
        self._children.remove(child)
        return said[0] if said else ""

    def _watch(self, seconds: float | None) -> None:
        """Handle what happens in the next `seconds`. Raises Stopped."""
        if self._signals.stop_within(seconds):
            raise Stopped
        self._bury()
        now = time.monotonic()
        for child in self._children:
            if child.pid is None and child.due <= now and not self._stopping:
                child.start(self._environment(child.name))

    def _bury(self) -> None:
        ended = dict(reaped())
        for child in self._children:
            if child.pid not in ended:
                continue
            code = ended[child.pid]
            delay = child.died(code)
            if not (self._stopping or child.once):
                how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
                self._teller.say(child.name, f"died ({how}); starting again in {delay:g} s")

    def _wait(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        """Return as soon as `true()`. Raises Unavailable with what the logs say, or Stopped."""
        began = time.monotonic()
        deadline, tell_at = began + seconds, began + TELL_SECONDS
        while not true():
            self._watch(POLL_SECONDS)
            if time.monotonic() > tell_at:
                self._teller.say("argosy", f"waiting for {what}")
                tell_at += TELL_SECONDS
            for child in self._children:
                if child.deaths >= MOST_DEATHS_BEFORE_READY:
                    raise Unavailable(_gave_up(f"{child.name} does not start", child))
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{what} did not answer within {seconds:g} s; see {self._logs()}."
                )

    def _until_due(self) -> float | None:
        due = [child.due for child in self._children if child.pid is None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _stop(self) -> None:
        """End everything: work first, then the Redis that it uses; whatever is left is killed.

        Ctrl-C again has work handed back at once, and once more ends everything as it is.
        """
        self._stopping = True
        redis = [child for child in self._children if child.name == "redis"]
        work = [child for child in self._children if child.name != "redis"]
        for group in (work, redis):
            for child in group:
                child.signal(signal.SIGTERM)
            deadline = time.monotonic() + self._stop_seconds
            hurried = False
            while any(child.pid for child in group) and time.monotonic() < deadline:
                again = self._signals.stop_within(POLL_SECONDS)
                self._bury()
                if again and hurried:
                    break
                if again:
                    hurried, deadline = True, time.monotonic() + CLOSE_SECONDS
                    for child in group:
                        child.signal(signal.SIGTERM)
            for child in group:
                child.signal(signal.SIGKILL)
        end_descendants()

    def _metrics_port(self, child: str) -> str:
        """Return a port for each process that needs one, from the one that was asked for on."""
        first = os.environ.get("ARGOSY_METRICS_PORT", "0")
        pages = ["core", *(f"host-{n}" for n in range(1, self._workers + 1)), "build"]
        if child not in pages or first == "0":
            return "0"
        return str(int(first) + pages.index(child)) if first.isdecimal() else first

    def _child(self, name: str, command: list[str], *, once: bool = False) -> Child:
        log = self._directory.logs / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        child = Child(name, command, log, once=once)
        self._children.append(child)
        return child

    def _environment(self, child: str) -> Mapping[str, str]:
        """Return a child's environment: the person's, and what makes them one server."""
        data = self._directory.path
        chosen = {
            "ARGOSY_DATA": str(self._directory.machine),
            "ARGOSY_HOST": self._host,
            "ARGOSY_PORT": str(self._port),
            "ARGOSY_DEV_API_KEY": self._key,
            "ARGOSY_METRICS_PORT": self._metrics_port(child),
        }
        databases = {
            "ARGOSY_DATABASE": f"sqlite:///{data / LOG}",
            "ARGOSY_READ_DATABASE": f"sqlite:///{data / 'read.db'}",
        }
        if not _has_master_key():
            chosen[f"{MASTER_KEY}_FILE"] = str(self._directory.master_key)
        defaults = {
            **({} if "ARGOSY_DATABASE" in os.environ else databases),
            "ARGOSY_BLOBS": str(data / "blobs"),
            "ARGOSY_REDIS": f"unix://{self._socket}",
            "ARGOSY_LIMIT_SCOPE": "process",
            "ARGOSY_DRAIN_SECONDS": f"{DRAIN_SECONDS:g}",
            "ARGOSY_UNREADY_SECONDS": "0",
            "ARGOSY_WARM_SANDBOXES": "2",
            "ARGOSY_LOG_FORMAT": "text",
            "ARGOSY_PUBLIC_URL": f"http://{self._shown(self._reached)}:{self._port}",
            # Arenas are per thread and keep what they once held; a dev server is idle mostly.
            "MALLOC_ARENA_MAX": "2",
        }
        # What is compiled once need not be compiled at every start, whatever the shell says.
        left_out = {"PYTHONDONTWRITEBYTECODE"}
        if not child.startswith(NEED_MASTER_KEY):
            left_out.add(MASTER_KEY)
        inherited = {k: v for k, v in os.environ.items() if k not in left_out}
        return {**defaults, **inherited, **chosen}

    def _check_port(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((self._host, self._port))
            except OSError as error:
                raise Conflict(
                    f"Cannot listen on {self._host}, port {self._port}: {error.strerror}. "
                    "Name another with --port."
                ) from None

    def _logs(self) -> Path:
        return self._directory.logs

    def _shown(self, host: str) -> str:
        return f"[{host}]" if ":" in host else host


def greeting(url: str, key: str, directory: DataDirectory, walls: str) -> list[str]:
    """Return what a person needs to know first."""
    checkout = Path(__file__).resolve().parents[2]
    example, argosy = Path("examples/echo"), "uv run argosy"
    if os.environ.get("PWD", str(checkout)) != str(checkout):
        example, argosy = checkout / example, "argosy"
    return [
        "",
        f"Argosy is ready at {url}",
        f"  API key   {key}",
        f"  data      {directory.path}",
        f"  logs      {directory.logs}",
        f"  sandbox   {walls}",
        "",
        "Deploy the example and talk to it, from another terminal in this folder:",
        f"  {argosy} deploy {example}",
        f'  {argosy} invoke echo -m "hello" --follow',
        "",
        "Ctrl-C stops everything. What happens:",
    ]


def _has_master_key() -> bool:
    """Whether the person who started the server keeps the master key elsewhere."""
    return bool(os.environ.get(MASTER_KEY) or os.environ.get(f"{MASTER_KEY}_FILE"))


def _gave_up(what: str, child: Child) -> str:
    return "\n  ".join([f"{what}. The end of {child.log}:", *child.last_lines()])
