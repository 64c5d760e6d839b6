"""No request is answered by a crash, late, or by what the document does not say."""

from pathlib import Path

import pytest

from tests.fuzzing.attacks import attack
from tests.fuzzing.effort import examples, is_long, seed
from tests.fuzzing.requests import NATIVE, RUNAGENTS
from tests.redis_server import RedisServer

TARGETS = {"native": NATIVE, "runagents": RUNAGENTS}
EVERY_DAY = [("native", "postgres"), ("runagents", "sqlite")]
AT_WILL = [("native", "sqlite"), ("runagents", "postgres")]


@pytest.mark.timeout(0 if is_long() else 300)
@pytest.mark.parametrize(("name", "database"), EVERY_DAY + (AT_WILL if is_long() else []))
def test_whatever_is_asked(
    name: str,
    database: str,
    tmp_path: Path,
    redis_server: RedisServer,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgres" else ""

    examined = attack(tmp_path, url, redis_server, TARGETS[name], examples=examples(3), seed=seed())

    assert not examined.findings, "\n".join(map(str, examined.findings.values()))
    assert examined.asked > 1000
    assert not set(TARGETS[name].apart) & set(examined.silent())
    # What others have deleted before it was asked for has no other answer.
    assert len(examined.silent()) < len(examined.answers) / 4, examined.silent()
