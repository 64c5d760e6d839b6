"""Requests that a document allows, and requests that it does not, made up by schemathesis."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import schemathesis
from msgspec import Struct, field
from schemathesis import engine
from schemathesis.engine import events
from schemathesis.engine.recorder import ScenarioRecorder

from tests.fuzzing.servers import KEY

LIMIT_SECONDS = 5.0  # for any answer
KNOWN = 0.8  # how often a name is one of something that exists
TOLERATED = {
    # JSON Schema takes 1.0 for an integer, and bodies are read more strictly than that.
    "positive_data_acceptance": b"got `float`",
    # What was deleted is still there by its id, for whoever asks what it was.
    "use_after_free": b'"status":"archived"',
}


class Target(Struct, frozen=True, kw_only=True):
    """A document, and what its answers may be.

    accepted: for what the document allows. 409 and the like are about the state of things.
    apart: operations that are asked by themselves, after all others.
    names_fields: a request that cannot be read is answered with the `field` that is wrong.
    """

    path: str
    accepted: Sequence[str]
    apart: Sequence[str]
    names_fields: bool


NATIVE = Target(
    path="/schema/openapi.json",
    accepted=("2xx", "401", "403", "404", "409", "422", "429"),
    apart=("DELETE /v1/workspaces/{workspace}",),  # it would be the end of everything else
    names_fields=True,
)
RUNAGENTS = Target(
    path="/schema/runagents.json",
    accepted=("2xx", "400", "401", "403", "404", "409", "429"),  # it knows no 422
    apart=("POST /api/agents/{namespace}/{name}/invoke",),  # waits for a run host
    names_fields=False,
)


class Finding(Struct, frozen=True):
    """What was wrong with an answer, and the request that led to it."""

    operation: str
    phase: str
    says: str
    request: str = ""

    def __str__(self) -> str:
        return f"[{self.phase}] {self.operation}: {self.says}\n{self.request}\n"


class Examined(Struct):
    """What came of it. answers: how often an operation was answered with which status."""

    findings: dict[tuple[str, str], Finding] = field(default_factory=dict[tuple[str, str], Finding])
    answers: dict[str, Counter[int]] = field(default_factory=dict[str, Counter[int]])

    @property
    def asked(self) -> int:
        """How many requests were made."""
        return sum(counted.total() for counted in self.answers.values())

    def silent(self) -> list[str]:
        """Return the operations that never said anything but that something was wrong."""
        return [
            name
            for name, counted in self.answers.items()
            if not any(200 <= c < 300 for c in counted)
        ]

    def merge(self, other: "Examined") -> None:
        """Add what came of asking other operations."""
        self.findings |= other.findings
        self.answers |= other.answers

    def add(self, finding: Finding, kind: str) -> None:
        """Keep the first of its kind."""
        self.findings.setdefault((finding.operation, kind), finding)


def examine(
    document: dict[str, Any],
    url: str,
    target: Target,
    values: Mapping[str, Sequence[str]],
    *,
    examples: int,
    seed: int,
    apart: bool = False,
) -> Examined:
    """Ask all that the document describes: its edges, and `examples` times at random.

    values: names that exist, by the parameter in the path that they are for.
    apart: ask the operations that are asked apart, else the others.
    """
    config = schemathesis.Config.from_dict(  # pyright: ignore[reportUnknownMemberType]  # dict
        {
            "seed": seed,
            "base-url": url,
            "headers": {"Authorization": f"Bearer {KEY}"},
            "continue-on-failure": True,
            "request-timeout": 2 * LIMIT_SECONDS,
            "phases": {"stateful": {"enabled": not apart}},
            "generation": {"max-examples": examples, "database": "none", "no-shrink": True},
            "checks": {
                "max_response_time": LIMIT_SECONDS,
                "positive_data_acceptance": {"expected-statuses": list(target.accepted)},
            },
            "dictionaries": {name: {"values": list(known)} for name, known in values.items()},
            "parameters": {
                f"path.{name}": {"dictionary": name, "probability": KNOWN} for name in values
            },
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)
    examined = Examined()
    choose = schema.include if apart else schema.exclude  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # untyped pattern
    asked = choose(name=list(target.apart))
    for event in engine.from_schema(asked).execute():
        match event:
            case events.ScenarioFinished(recorder=recorder, phase=phase):
                _take(examined, recorder, phase.name, target)
            case events.NonFatalError(label=label, value=value):
                says = f"{type(value).__name__}: {value}"
                examined.add(Finding(label, "", says), type(value).__name__)
            case events.FatalError(exception=error):
                raise error
            case _:
                pass
    return examined


def _take(examined: Examined, recorder: ScenarioRecorder, phase: str, target: Target) -> None:
    labels = _labels(recorder)
    for id, asked in recorder.interactions.items():
        label = labels.get(id, recorder.label)
        status = asked.response.status_code if asked.response else 0
        body = (asked.response.content if asked.response else b"") or b""
        if label.startswith(
            f"{asked.request.method} "
        ):  # else it was tried whether that is refused
            examined.answers.setdefault(label, Counter())[status] += 1
        if target.names_fields and status == 400 and not json.loads(body).get("field"):
            says = f"names no field: {body[:500]!r}"
            examined.add(Finding(label, phase, says, asked.request.uri), "field")
        for node in recorder.checks.get(id, ()):
            if node.failure_info is None or TOLERATED.get(node.name, b"\0") in body:
                continue
            failure = node.failure_info.failure
            says = f"{failure.title}: {failure.message}\n{status} {body[:500]!r}"
            finding = Finding(label, phase, says, node.failure_info.code_sample)
            examined.add(finding, f"{node.name} {failure.title}")


# Any: cases are generic, and only schemathesis knows in what.
def _labels(recorder: Any) -> dict[str, str]:
    """Return the operation of each request that was made."""
    return {id: case.value.operation.label for id, case in recorder.cases.items()}
