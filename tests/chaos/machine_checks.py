"""What processes did and left, and whether the read models are the log's."""

from typing import Any

from tests.chaos.evidence import Death, Evidence
from tests.chaos.judging import Verdict

# A process that starts while the log is away says so and ends; whoever starts it tries again.
_STARTING_SECONDS = 8.0


def read_models(evidence: Evidence) -> Verdict:
    """What is served has the whole log, and is what a rebuild makes of it."""
    wrong: list[str] = []
    for name, rebuilt in evidence.rebuilt.items():
        served = evidence.served.get(name)
        if served is None:
            wrong.append(f"{name} is not served")
            continue
        reached = evidence.served_positions[name]
        if reached != evidence.log_position:
            wrong.append(f"{name} is at {reached}, the log at {evidence.log_position}")
        wrong += [
            f"{name} {id}: {_differ(served.get(id), rebuilt.get(id))}"
            for id in sorted(served.keys() | rebuilt.keys())
            if served.get(id) != rebuilt.get(id)
        ]
    rows = sum(map(len, evidence.rebuilt.values()))
    figure = f"{len(evidence.rebuilt)} tables, {rows} rows"
    return Verdict(name="read models equal a rebuild", figure=figure, wrong=wrong)


def nothing_left(evidence: Evidence) -> Verdict:
    """After a normal stop there is nothing but the data."""
    figure = f"{len(evidence.left)} left"
    return Verdict(name="nothing is left", figure=figure, wrong=evidence.left)


def deaths(evidence: Evidence) -> Verdict:
    """Processes died of faults, or ended in order when they were asked to."""
    wrong = [
        f"{each.name} (pid {each.pid}) ended with {each.code}"
        for each in evidence.deaths
        if not _is_fine(each, evidence)
    ]
    asked = sum(each.asked for each in evidence.deaths)
    figure = f"{len(evidence.deaths)} deaths, {asked} of them asked for"
    return Verdict(name="processes die of faults only", figure=figure, wrong=wrong)


def quiet(evidence: Evidence) -> Verdict:
    """No process met a bug, or something that it had no word for."""
    wrong = [f"{each.name}: {each.line[:600]}" for each in evidence.said]
    return Verdict(name="no process met a bug", figure=f"{len(wrong)} lines", wrong=wrong)


def _is_fine(death: Death, evidence: Evidence) -> bool:
    if death.asked:
        # Nobody can be asked before it listens.
        return death.code == 0 or (death.code == -15 and not death.ready)
    if death.fault:
        return True
    return any(
        each.began <= death.at <= (each.back or death.at) + _STARTING_SECONDS
        for each in evidence.faults
        if each.part in ("postgres", "disk") or each.froze_log
    )


def _differ(served: dict[str, Any] | None, rebuilt: dict[str, Any] | None) -> str:
    if served is None or rebuilt is None:
        return "is only in the rebuild" if served is None else "is only served"
    return ", ".join(
        f"{column} is {served.get(column)!r}, rebuilt {rebuilt.get(column)!r}"
        for column in rebuilt
        if served.get(column) != rebuilt.get(column)
    )
