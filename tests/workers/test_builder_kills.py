"""Builders that are killed at random moments leave nothing half made; more of it by a command."""

from tests.builder_kills import kill_builders
from tests.redis_server import RedisServer

KILLS = 3


async def test_builds_end_whatever_moment_their_builder_is_killed_at(
    redis_server: RedisServer,
) -> None:
    report = await kill_builders(redis_server.url, kills=KILLS, seed=20261126)

    assert report.wrong == []
    assert report.retried + report.missed >= KILLS
