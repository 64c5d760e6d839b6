"""Versions that work on one log read each other's events: decision 0025's rule about fields."""

import pytest

from tests.event_fields import Fields, breaches, fields_known, fields_now

KNOWN: Fields = {"run.ended how": "required", "run.ended detail": "optional"}


def test_no_field_of_an_event_keeps_another_version_from_reading_it() -> None:
    found = breaches(fields_known(), fields_now())

    assert not found, "\n".join(found)


def test_every_field_of_an_event_is_written_down() -> None:
    new = fields_now().keys() - fields_known().keys()

    assert not new, f"Run `python -m tests.event_fields` and commit what it adds: {sorted(new)}"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"run.ended how": "required"}, "run.ended detail: removed or renamed"),
        (KNOWN | {"run.ended detail": "required"}, "run.ended detail: now required"),
        (KNOWN | {"run.ended how": "optional"}, "run.ended how: now optional"),
        (KNOWN | {"run.ended mood": "required"}, "run.ended mood: new and required"),
        (KNOWN | {"run.ended cost": "optional", "run.ended cost/usd": "required"}, None),
        (KNOWN | {"run.ended mood": "optional"}, None),
        (KNOWN | {"run.paused mood": "required"}, None),
    ],
    ids=["removed", "required", "optional", "new", "new_struct", "new_optional", "new_event"],
)
def test_a_change_that_breaks_is_found(now: Fields, said: str | None) -> None:
    found = breaches(KNOWN, now)

    assert [each.startswith(said) for each in found] == [True] if said else not found


def test_fields_of_structs_within_events_are_looked_at() -> None:
    assert "deployment.revision_made settings/limits/memory_mb" in fields_now()
