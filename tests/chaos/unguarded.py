"""`python -m tests.chaos.unguarded GUARD MODULE WORD…`: a module of the server without one guard.

The guards are taken out of the running process; the product knows nothing of it. Each names the
check that has to notice, and the faults at which it does.
"""

import runpy
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from msgspec import Struct
from msgspec.structs import replace


class Guard(Struct, frozen=True, kw_only=True):
    """remove: called before the module runs. cards: the faults that matter, and how often each."""

    remove: Callable[[], None]
    notices: str
    cards: Mapping[tuple[str, str], int]
    kills: int = 8
    database: str = "sqlite"


def _put(module: str, name: str, new: Any) -> None:
    """Put something else in the place of a function or method, `Class.method` where it is one."""
    owner: Any = import_module(module)
    *path, last = name.split(".")
    for each in path:
        owner = getattr(owner, each)
    setattr(owner, last, new)


def _get(module: str, name: str) -> Any:
    """Return what is in a module."""
    return getattr(import_module(module), name)


def _fencing() -> None:
    """Nobody looks which attempt an append is of."""
    check = _get("adapters.event_store.append", "_check_change")

    def unfenced(change: Any, head: Any) -> None:
        check(replace(change, attempt=None), head)

    _put("adapters.event_store.append", "_check_change", unfenced)


def _idempotency() -> None:
    """A key means nothing."""

    async def forgotten(*_: Any) -> None:
        """Return no key."""

    _put("api.calls", "idempotency_of", forgotten)


def _durability() -> None:
    """A commit is acknowledged before it is on the disk."""
    _get("adapters.event_store.postgres", "_APPENDER_SETTINGS")["synchronous_commit"] = "off"


def _taking_over() -> None:
    """Nobody gives up what a dead worker held."""

    async def nothing(*_: Any, **__: Any) -> None:
        """Leave it."""

    _put("workers.reaper", "take_over", nothing)
    _put("workers.host", "take_over", nothing)


def _telling_again() -> None:
    """Nobody looks for hints that were lost."""

    async def nothing(*_: Any) -> None:
        """Leave them."""

    _put("workers.reaper", "_tell_again", nothing)


def _resuming() -> None:
    """Whoever resumes starts over."""

    def from_the_start(*_: Any) -> int:
        return 0

    _put("api.runs", "resume_after", from_the_start)


def _order() -> None:
    """Frames are passed on as they come, whatever is missing between them."""
    live = import_module("api.live")

    def frame(topic: Any, version: int, data: bytes) -> None:
        topic._advance(live.chunk_of(version, data))

    async def chunks(follower: Any, _after: int) -> Any:
        while not follower.closed:
            while follower._chunks:
                yield follower._chunks.popleft()
            await follower._wait()

    _put("api.live", "Topic.frame", frame)
    _put("api.live", "Follower.chunks", chunks)


def _tenancy() -> None:
    """Everybody sees every event."""

    async def sees(*_: Any) -> bool:
        return True

    _put("api.visibility", "Visible.sees", sees)


def _sweeping() -> None:
    """Nobody sweeps what is left of the sandboxes of dead hosts."""

    async def nothing(*_: Any) -> list[str]:
        return []

    _put("workers.sandboxes.bubblewrap", "sweep_orphans", nothing)


def _checkpoint() -> None:
    """A projection skips what it was given while it could not write."""
    write = _get("projections.feeding", "Writer").write
    count = 0

    async def forgetful(writer: Any, connection: Any, statements: Any) -> None:
        nonlocal count
        count += 1
        await write(writer, connection, [] if count % 40 == 0 else statements)

    _put("projections.feeding", "Writer.write", forgetful)


_HOST_STOPS = {("host", "stop for long"): 1}
_HOST_KILLS = {("host", "kill"): 1}

GUARDS: Mapping[str, Guard] = {
    "fencing": Guard(
        remove=_fencing, notices="nothing of a fenced attempt", cards=_HOST_STOPS, kills=10
    ),
    "idempotency": Guard(
        remove=_idempotency,
        notices="acknowledged commands are there once",
        cards={("api", "kill"): 1, ("api", "stop"): 1},
    ),
    "durability": Guard(
        remove=_durability,
        notices="acknowledged commands are there once",
        cards={("postgres", "restart at once"): 1},
        kills=12,
        database="postgres",
    ),
    "taking over": Guard(
        remove=_taking_over, notices="every run and build ended once", cards=_HOST_KILLS, kills=6
    ),
    "telling again": Guard(
        remove=_telling_again,
        notices="every run and build ended once",
        cards={("redis", "kill"): 1},
        kills=10,
    ),
    "resuming": Guard(
        remove=_resuming,
        notices="subscribers saw all, once, in order",
        cards={("api", "restart"): 1},
        kills=4,
    ),
    "order": Guard(
        remove=_order,
        notices="subscribers saw all, once, in order",
        cards={("redis", "kill"): 1},
        kills=6,
    ),
    "tenancy": Guard(
        remove=_tenancy,
        notices="nothing of another workspace",
        cards={("projector", "kill"): 1},
        kills=2,
    ),
    "sweeping": Guard(remove=_sweeping, notices="nothing is left", cards=_HOST_KILLS, kills=5),
    "checkpoints": Guard(
        remove=_checkpoint,
        notices="read models equal a rebuild",
        cards={("projector", "kill"): 1},
        kills=3,
    ),
}


def main() -> None:
    """Take the guard out, and become the module."""
    guard, module, *words = sys.argv[1:]
    GUARDS[guard].remove()
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
