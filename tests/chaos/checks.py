"""Every check, in the order in which the table shows them."""

from collections.abc import Callable

from tests.chaos import client_checks, log_checks, machine_checks
from tests.chaos.evidence import Evidence
from tests.chaos.judging import Verdict

CHECKS: tuple[Callable[[Evidence], Verdict], ...] = (
    client_checks.acknowledged,
    client_checks.answers,
    log_checks.positions,
    log_checks.ended_once,
    log_checks.in_time,
    log_checks.completed,
    log_checks.fenced,
    log_checks.transcripts,
    log_checks.explained,
    client_checks.subscribers,
    client_checks.foreign,
    machine_checks.read_models,
    machine_checks.deaths,
    machine_checks.quiet,
    machine_checks.nothing_left,
)


def judge(evidence: Evidence) -> list[Verdict]:
    """Return what all checks say."""
    return [check(evidence) for check in CHECKS]
