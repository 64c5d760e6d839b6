"""What every harness promises (`workers/harnesses/harness.py`), whatever agent it runs."""

import tracemalloc

import msgspec
import pytest

from domain.entries import MessageSaid, RunEntry
from domain.errors import NotFound
from domain.registry import encode
from tests.workers.recordings import Recording, recordings
from workers.harnesses.harness import MAX_TEXT_BYTES, Harness, Result, Stream, Task
from workers.harnesses.harnesses import HARNESSES, find_harness
from workers.images.programs import ImageProgram

RECORDINGS = recordings()

TASK = Task(
    run_id="01890000-0000-7000-8000-000000000000",
    agent_name="echo",
    message="the message ü \0",
    history=[{"role": "user", "content": "earlier"}],
    context={"key": ["value"]},
    user_id="u",
    conversation_id="c",
    entry_point="agent.py",
    system_prompt="be kind",
    environment={"TOKEN": "the secret"},
    python="/usr/bin/python3",
    dependencies_target="/opt/deps",
    program=ImageProgram(argv=("serve",)),
)

# Of thirteen million bytes.
MAX_HELD_BYTES = 4 << 20


@pytest.fixture(params=HARNESSES)
def harness(request: pytest.FixtureRequest) -> Harness:
    return find_harness(request.param)


@pytest.fixture(params=RECORDINGS)
def recording(request: pytest.FixtureRequest) -> Recording:
    return RECORDINGS[request.param]


def test_a_harness_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(NotFound, match="source"):
        find_harness("nothing")


def test_every_harness_has_recordings(harness: Harness) -> None:
    assert [each for each in RECORDINGS.values() if each.harness == harness.name]


def test_a_launch_follows_from_the_task_alone(harness: Harness) -> None:
    assert harness.launch(TASK) == harness.launch(TASK)


def test_nothing_private_is_an_argument(harness: Harness) -> None:
    """Arguments can be read by every process of a machine, and end at 128 KiB."""
    arguments = " ".join(harness.launch(TASK).argv)

    for private in ("the message", "the secret", "be kind", "earlier", "value"):
        assert private not in arguments


def test_the_environment_can_be_passed_to_a_program(harness: Harness) -> None:
    task = msgspec.structs.replace(TASK, system_prompt="x" * 500_000, environment={"A": "b"})
    launch = harness.launch(task)

    assert all(name.isidentifier() for name in launch.environment)
    assert all(len(value) < 128 << 10 for value in launch.environment.values())
    assert launch.environment.get("A") == "b" or b"\0A=b\0" in launch.stdin


def test_a_recording_reads_as_it_did(recording: Recording) -> None:
    feeds = _bytes(recording)

    entries, result = _read(recording, feeds)

    assert [msgspec.json.decode(encode(entry)) for entry in entries] == recording.entries
    assert result == recording.result


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("flushes", [False, True])
def test_how_output_is_cut_changes_nothing_that_is_said(
    recording: Recording, size: int, flushes: bool
) -> None:
    feeds: list[tuple[Stream, bytes]] = [
        (stream, data[start : start + size])
        for stream, data in _bytes(recording)
        for start in range(0, len(data), size)
    ]

    entries, result = _read(recording, feeds, flushes=flushes)

    assert result == recording.result
    assert _said(entries) == "".join(
        entry["text"] for entry in recording.entries if entry["type"] == MessageSaid.tag()
    )


def test_readers_share_nothing(recording: Recording) -> None:
    feeds = _bytes(recording)
    harness = find_harness(recording.harness)
    harness.reader(TASK).feed("channel", b"something half")

    assert _read(recording, feeds)[1] == recording.result


@pytest.mark.parametrize("stream", ["stdout", "stderr", "channel"])
@pytest.mark.parametrize(
    "chunk",
    [b"x" * 65_536, b"\n" * 65_536, b"\xff" * 65_536, bytes(range(256)) * 256, b'{"a":' * 13_000],
    ids=["no line", "lines", "no text", "anything", "nesting"],
)
def test_what_is_held_is_bounded(harness: Harness, stream: Stream, chunk: bytes) -> None:
    reader = harness.reader(TASK)
    tracemalloc.start()
    try:
        for _ in range(200):
            for entry in reader.feed(stream, chunk):
                assert len(encode(entry)) <= 6 * MAX_TEXT_BYTES + 1_024
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    _, result = reader.finish(code=None, signal=9)

    assert held < MAX_HELD_BYTES
    assert result.how == "failed"


def test_a_program_that_says_nothing_and_fails_has_failed(harness: Harness) -> None:
    for code, signal in ((1, None), (255, None), (None, 9), (None, None)):
        entries, result = harness.reader(TASK).finish(code=code, signal=signal)

        assert entries == []
        assert result.how == "failed"
        assert result.reason
        assert result.detail


def _bytes(recording: Recording) -> list[tuple[Stream, bytes]]:
    return [(stream, data.encode("latin-1")) for stream, data in recording.feeds]


def _read(
    recording: Recording, feeds: list[tuple[Stream, bytes]], *, flushes: bool = False
) -> tuple[list[RunEntry], Result]:
    reader = find_harness(recording.harness).reader(TASK)
    entries: list[RunEntry] = []
    for stream, data in feeds:
        entries += reader.feed(stream, data)
        if flushes:
            entries += reader.flush()
    last, result = reader.finish(code=recording.code, signal=recording.signal)
    return [*entries, *last], result


def _said(entries: list[RunEntry]) -> str:
    return "".join(entry.text for entry in entries if isinstance(entry, MessageSaid))
