"""A small run of the chaos suite; and every check fails where what it watches over is wrong."""

import re

import pytest

from tests.chaos.checks import CHECKS, judge
from tests.chaos.doctoring import DOCTORED, doctor
from tests.chaos.evidence import Evidence
from tests.chaos.judging import table
from tests.chaos.plan import schedule, wishes
from tests.chaos.programs import PROGRAMS
from tests.chaos.small import KILLS, SEED, small_run
from tests.chaos.unguarded import GUARDS
from tests.conftest import require
from tests.e2e.servers import ROOT
from tests.postgres import find_postgres
from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.drivers import find_bubblewrap

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """What a run on SQLite saw."""
    try:
        find_bubblewrap()
    except SandboxUnsupported as error:
        require("bwrap", error.detail)
    return small_run("sqlite")


def test_promises_are_kept_on_sqlite(evidence: Evidence) -> None:
    _all_hold(evidence)


def test_promises_are_kept_on_postgresql() -> None:
    if find_postgres() is None:
        require("postgres", "no initdb and postgres on the path or below /usr/lib/postgresql")
    _all_hold(small_run("postgres"))


@pytest.mark.parametrize("what", sorted(DOCTORED))
def test_a_check_fails_where_its_guard_is_gone(evidence: Evidence, what: str) -> None:
    doctored = DOCTORED[what]

    verdicts = {each.name: each for each in judge(doctor(evidence, doctored.change))}

    assert not verdicts[doctored.fails].ok


def test_every_check_has_something_that_makes_it_fail() -> None:
    names = {check(Evidence(seed=0, database="", lease_seconds=1)).name for check in CHECKS}

    assert names == {each.fails for each in DOCTORED.values()}


def test_the_guide_lists_every_guard_with_the_check_that_notices() -> None:
    guide = (ROOT / "docs/guides/chaos.md").read_text()
    rows = re.findall(r"^\| `([a-z ]+)` \| .+ \| (.+) \|$", guide, re.MULTILINE)

    assert dict(rows) == {name: guard.notices for name, guard in GUARDS.items()}


def test_a_seed_repeats_its_schedule() -> None:
    parts = {"host", "api", "redis", "sandbox", "disk"}
    weights = {each.name: each.weight for each in PROGRAMS.values()}

    first, again, other = (schedule(seed, 100, parts, 5.0) for seed in (SEED, SEED, SEED + 1))
    asked = [
        [next(each) for _ in range(100)] for each in (wishes(7, 2, weights), wishes(7, 2, weights))
    ]

    assert first == again != other
    assert {each.part for each in first} == parts
    assert asked[0] == asked[1]


def _all_hold(evidence: Evidence) -> None:
    verdicts = judge(evidence)

    assert all(each.ok for each in verdicts), f"seed {evidence.seed}\n{table(verdicts)}"
    assert len(evidence.faults) + len(evidence.missed) == KILLS
    assert len(evidence.missed) < 4
