"""What programs in sandboxes write, read by every harness: whole transcripts with broken parts."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.entries import RunEntry
from domain.registry import encode
from tests.fuzzing.effort import examples, is_long
from tests.fuzzing.growth import grows_evenly, holding_at_most
from tests.fuzzing.mutations import cut, mutated
from tests.workers.recordings import FOLDER, Recording
from workers.harnesses.harness import MAX_TEXT_BYTES, MIN_ENTRY_BYTES, Reader, Stream, Task
from workers.harnesses.harnesses import find_harness

TASK = Task(run_id="r", message="hi", entry_point="agent.py", python="/usr/bin/python3")
RECORDINGS = [
    msgspec.json.decode(path.read_bytes(), type=Recording) for path in sorted(FOLDER.glob("*.json"))
]
PIECES = [
    *(b'{"type":"', b'{"type":"result"}\n', b'{"type":"start","stdout":"say"}\n', b'"\\ud800"'),
    *(b"9" * 5_000, b"1e999", b"[" * 3_000, b"\n" * 200, b"\r", b"\xf0\x9f", b"\0", b"\xff" * 50),
    *(b'{"type":"usage","input_tokens":-1}\n', b'{"type":"tool_call","call_id":"","tool":""}\n'),
    *(b'{"type":"file_edit","path":"../x"}\n', b'{"type":"turn"}\n', b"x" * 20_000),
]


@given(st.sampled_from(RECORDINGS), st.data())
@settings(max_examples=examples(100))
def test_a_broken_transcript_is_read(recording: Recording, data: st.DataObject) -> None:
    """Whatever is broken: what comes out can be stored, within the limits, and counts."""
    reader = find_harness(recording.harness).reader(TASK)
    found: list[RunEntry] = []
    for stream, text in recording.feeds:
        for chunk in cut(data.draw(mutated(text.encode("latin-1"), PIECES)), data):
            found += reader.feed(stream, chunk)
        if data.draw(st.booleans()):
            found += reader.flush()
    last, result = reader.finish(code=recording.code, signal=recording.signal)

    assert reader.text_bytes >= len([*found, *last]) * MIN_ENTRY_BYTES
    for entry in (*found, *last):
        stored = encode(entry)
        assert msgspec.json.decode(stored)
        assert len(stored) <= 2 * 6 * MAX_TEXT_BYTES + 4_096
    assert msgspec.json.decode(msgspec.json.encode(result))


STREAMS: list[Stream] = ["stdout", "stderr", "channel"]
WRITTEN = [b"x", b"x\n", b"\n", b"\xff", b'{"type":"message","text":"a"}\n', b'{"type":"', b"[[[\n"]


def reader() -> Reader:
    """Return one whose program has said that its standard output is its log."""
    made = find_harness("source").reader(TASK)
    made.feed("channel", b'{"type":"start","stdout":"log"}\n')
    return made


@pytest.mark.parametrize("stream", STREAMS)
def test_reading_takes_no_longer_than_there_is_to_read(stream: Stream) -> None:
    for written in WRITTEN:
        chunk = (written * 64)[:1_024]

        def read(size: int, chunk: bytes = chunk) -> None:
            reading = reader()
            for _ in range(size // len(chunk)):
                reading.feed(stream, chunk)
            reading.finish(code=0, signal=None)

        grows_evenly(read, 100_000)


@pytest.mark.timeout(0 if is_long() else 120)
@pytest.mark.parametrize("stream", STREAMS)
def test_nothing_is_held(stream: Stream) -> None:
    """100 MB of each, if there is time for it."""
    for written in WRITTEN:
        reading, chunk = reader(), written * (65_536 // len(written))

        with holding_at_most(64):
            for _ in range(1_600 if is_long() else 20):
                reading.feed(stream, chunk)
