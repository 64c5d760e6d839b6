"""Every event that was ever stored can be read for ever, and is written as it was."""

import hashlib
import re
from pathlib import Path

import msgspec
import pytest

from domain.decider import Event
from domain.lenient import lenient_decoder
from domain.registry import SCHEMA_VERSION, TYPES, Unknown, decode, encode
from domain.runs import RunEnded
from tests.goldens import FOLDER, SUMS, golden_path

FILES = sorted(FOLDER.glob("*.json"))

# What the files were when they were made. A line may be added here, never changed or removed.
SEALED = {name: digest for digest, name in (line.split() for line in SUMS.read_text().splitlines())}


def tag_and_version(path: Path) -> tuple[str, int]:
    """`run.ended.v1.json`, and `agent.version_drafted.v1.image.json` for another shape of it."""
    found = re.fullmatch(r"(.+)\.v(\d+)(\.[a-z_]+)?\.json", path.name)
    assert found, path.name
    return found[1], int(found[2])


@pytest.mark.parametrize("tag", sorted(TYPES))
def test_every_tag_has_a_file(tag: str) -> None:
    assert golden_path(tag).exists()


@pytest.mark.parametrize("name", sorted(SEALED))
def test_no_file_vanishes_or_changes(name: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == SEALED[name]


def test_every_file_is_sealed() -> None:
    assert {path.name for path in FILES} == set(SEALED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_an_event_with_all_its_fields(path: Path) -> None:
    """The tag still means its type, and what it decodes to is what the bytes say."""
    tag, version = tag_and_version(path)
    data = path.read_bytes()

    event = decode(tag, version, data)

    assert type(event) is TYPES[tag]
    assert msgspec.to_builtins(event) == msgspec.json.decode(data)


@pytest.mark.parametrize("tag", sorted(TYPES))
def test_events_are_written_as_they_were(tag: str) -> None:
    data = golden_path(tag).read_bytes()

    assert encode(decode(tag, SCHEMA_VERSION, data)) == data


@pytest.mark.parametrize("tag", sorted(TYPES))
def test_no_field_is_left_at_its_default(tag: str) -> None:
    """`omit_defaults` would leave it out of the file, and its reading unproven."""
    stored = msgspec.json.decode(golden_path(tag).read_bytes())

    assert set(stored) == {"type", *TYPES[tag].__struct_fields__}


def test_an_event_of_a_newer_version_is_kept_as_it_is() -> None:
    data = b'{"type":"run.paused","run_id":"r"}'
    newer = golden_path("run.ended").read_bytes()

    assert decode("run.paused", 1, data) == Unknown(fields={"type": "run.paused", "run_id": "r"})
    assert isinstance(decode("run.ended", SCHEMA_VERSION + 1, newer), Unknown)


@pytest.mark.parametrize("tag", sorted(TYPES))
def test_leniency_changes_nothing_that_can_be_read(tag: str) -> None:
    data = golden_path(tag).read_bytes()

    assert lenient_decoder(TYPES[tag])(data) == decode(tag, SCHEMA_VERSION, data)


def _changed(tag: str, **changes: object) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(golden_path(tag).read_bytes()) | changes)


def test_a_value_that_a_newer_version_added_to_a_closed_set_comes_through() -> None:
    newer = _changed("run.ended", reason="bored", how="adjourned")

    event = decode("run.ended", 1, newer)

    assert isinstance(event, RunEnded)
    assert (event.how, event.reason) == ("adjourned", "bored")
    assert msgspec.json.decode(encode(event)) == msgspec.json.decode(newer)


def test_what_says_what_is_allowed_is_never_guessed() -> None:
    """A limit that this code does not know it does not hold; a permission may be a refusal."""
    spec = {"type": "policy", "rules": [{"permission": "ask_twice", "resource": "https://x/*"}]}
    revision = msgspec.json.decode(golden_path("deployment.revision_made").read_bytes())
    revision["settings"]["limits"]["gpus"] = 1

    document = decode("document.applied", 1, _changed("document.applied", spec=spec))
    made = decode("deployment.revision_made", 1, msgspec.json.encode(revision))

    assert isinstance(document, Unknown)
    assert isinstance(made, Unknown)


def test_another_shape_of_what_is_known_is_unknown() -> None:
    assert isinstance(decode("run.ended", 1, _changed("run.ended", attempt="one")), Unknown)


def test_fields_that_a_newer_version_added_are_passed_over() -> None:
    data = b'{"type":"run.retried","run_id":"r","attempt":1,"mood":"new"}'

    event = decode("run.retried", 1, data)

    assert isinstance(event, Event)
    assert msgspec.to_builtins(event) == {"type": "run.retried", "run_id": "r", "attempt": 1}
