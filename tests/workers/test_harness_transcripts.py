"""The reader believes nothing: whatever a program writes, it is bounded and never an exception."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.entries import (
    ErrorReported,
    FileEdited,
    LogWritten,
    MessageSaid,
    RunEntry,
    ToolCalled,
    ToolReturned,
    UsageReported,
)
from domain.registry import encode
from workers.harnesses.channels import MAX_LINE_BYTES, MAX_TOKENS, bounded
from workers.harnesses.harness import MAX_OUTPUT_BYTES, MAX_TEXT_BYTES, MIN_ENTRY_BYTES, Stream
from workers.harnesses.transcripts import MAX_COMPLAINTS, MAX_EARLY_BYTES, TranscriptReader

SAY, LOG = {"type": "start", "stdout": "say"}, {"type": "start", "stdout": "log"}


def line(value: dict[str, Any]) -> bytes:
    """Return a line of the channel, its type first as the module writes it."""
    ordered = {"type": value["type"], **value}
    return json.dumps(ordered, separators=(",", ":")).encode() + b"\n"


def started(how: dict[str, str] = LOG) -> TranscriptReader:
    reader = TranscriptReader()
    assert reader.feed("channel", line(how)) == []
    return reader


def test_standard_output_waits_until_it_is_known_what_it_is() -> None:
    reader = TranscriptReader()

    assert reader.feed("stdout", b"one\n") == []
    assert reader.feed("channel", line(SAY)) == [MessageSaid(text="one")]
    assert reader.feed("stdout", b"two\n") == [MessageSaid(text="\ntwo")]


def test_standard_output_does_not_wait_for_ever() -> None:
    reader = TranscriptReader()
    found = [
        entry for _ in range(20) for entry in reader.feed("stdout", b"x" * 9999 + b"\n" * 5000)
    ]

    assert found
    assert all(isinstance(entry, LogWritten) for entry in found)
    assert MAX_EARLY_BYTES < 20 * 15_000


def test_a_program_that_never_started_is_a_harness_error() -> None:
    reader = TranscriptReader()
    reader.feed("stdout", b"some\n")
    found, result = reader.finish(code=0, signal=None)

    assert found == [LogWritten(stream="stdout", line="some")]
    assert (result.how, result.reason) == ("failed", "harness_error")


def test_the_output_is_the_answer_else_what_was_said_else_what_was_printed() -> None:
    def output(*lines: dict[str, Any]) -> str:
        reader = started()
        reader.feed("stdout", b"printed\n")
        for each in ({"type": "message", "text": "said"}, *lines):
            reader.feed("channel", line(each))
        return reader.finish(code=0, signal=None)[1].output

    answer = {"type": "message", "text": "answer", "answer": True}
    assert output(answer, {"type": "result", "from": "answer"}) == "answer"
    assert output({"type": "result", "from": "said"}) == "said"
    assert output({"type": "result", "from": "stdout"}) == "printed"
    assert output() == "said"


def test_only_the_first_result_counts() -> None:
    reader = started()
    reader.feed("channel", line({"type": "result", "extra": {"a": 1}}))
    again = reader.feed("channel", line({"type": "result", "extra": {"a": 2}}) + line(SAY))

    assert [type(entry) for entry in again] == [LogWritten, LogWritten]
    assert reader.finish(code=0, signal=None)[1].extra == {"a": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"not json\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b'{"type":"nothing"}\n',
        b'{"type":"message"}\n',
        b'{"type":"message","text":7}\n',
        b'{"type":"message","text":"\\ud800"}\n',
        b'{"type":"message","text":"\xff"}\n',
        b'{"type":"usage","input_tokens":1e400}\n',
        b'{"type":"usage","input_tokens":"5"}\n',
        b'{"type":"tool_call","call_id":"1","tool":"t","input":' + b"[" * 50_000 + b"\n",
        b'{"type":"tool_call","call_id":"1","tool":"t","input":' + b"9" * 5_000 + b"}\n",
        b'{"type":"file_edit","path":"../x"}\n',
        b'{"type":"file_edit","path":"/etc/passwd"}\n',
        b'{"type":"file_edit","path":"a\\u0000b"}\n',
        b'{"type":"message","text":"' + b"x" * MAX_LINE_BYTES + b'"}\n',
        b"\x00\x00\n",
    ],
)
def test_nonsense_on_the_channel_is_a_complaint(data: bytes) -> None:
    reader = started()

    [entry] = reader.feed("channel", data)

    assert isinstance(entry, LogWritten)
    assert entry.stream == "system"


@pytest.mark.parametrize("nonsense", [b"nonsense\n", b"\n", b'{"type":"x\n'])
def test_complaints_end_and_nonsense_counts(nonsense: bytes) -> None:
    reader = started()
    found = reader.feed("channel", nonsense * 10_000)
    found += reader.feed("channel", line({"type": "message", "text": "late"}))

    assert 0 < len(found) <= MAX_COMPLAINTS
    assert all(isinstance(entry, LogWritten) for entry in found)
    assert reader.text_bytes >= 10_000 * MIN_ENTRY_BYTES


def test_an_empty_message_counts_too() -> None:
    reader = started()

    assert reader.feed("channel", line({"type": "message", "text": ""}) * 10) == []
    assert reader.text_bytes >= 10 * MIN_ENTRY_BYTES


def test_values_are_cut_where_they_are_too_long_or_too_deep() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    reader = started()
    call = {"type": "tool_call", "call_id": "c" * 999, "tool": "t" * 999, "input": deep}
    [called] = reader.feed("channel", line(call))
    result = {"type": "tool_result", "call_id": "c", "tool": "t", "output": ["ü" * 9_000]}
    [returned] = reader.feed("channel", line(result))

    assert isinstance(called, ToolCalled)
    assert isinstance(returned, ToolReturned)
    assert len(called.call_id) == len(called.tool) == 256
    assert isinstance(called.input, str)
    assert called.input.startswith("[[[[")
    assert isinstance(returned.output, str)
    assert returned.output.startswith('["ü')
    assert len(returned.output.encode()) <= MAX_TEXT_BYTES


def test_numbers_stay_within_reason() -> None:
    reader = started()
    usage = {"type": "usage", "input_tokens": 10**40, "output_tokens": -5, "model": "m" * 999}
    found = reader.feed("channel", line(usage) + line(usage))

    assert found == [
        UsageReported(input_tokens=MAX_TOKENS, output_tokens=0, model="m" * 256) for _ in range(2)
    ]
    result = reader.finish(code=0, signal=None)[1]
    assert (result.input_tokens, result.output_tokens) == (MAX_TOKENS, 0)


def test_a_million_short_lines_become_few_entries() -> None:
    given: list[tuple[Stream, TranscriptReader]] = [
        ("stdout", started(SAY)),
        ("stderr", started()),
    ]
    for stream, reader in given:
        chunk = b"y\n" * 32_768
        count = sum(len(reader.feed(stream, chunk)) for _ in range(31))

        assert count < 200
        assert reader.text_bytes > 31 * 65_000


def test_every_entry_counts() -> None:
    reader = started()
    before = reader.text_bytes
    for _ in range(1_000):
        reader.feed("stderr", b"\n")

    assert reader.text_bytes - before == 1_000 * MIN_ENTRY_BYTES


def test_the_output_is_kept_up_to_a_limit() -> None:
    reader = started(SAY)
    for _ in range(40):
        reader.feed("stdout", "ü".encode() * 32_768)
    result = reader.finish(code=0, signal=None)[1]

    assert not result.output_complete
    assert len(result.output.encode()) == MAX_OUTPUT_BYTES


def test_errors_and_the_last_words_are_the_detail() -> None:
    reader = started()
    reader.feed("stderr", b"trouble\n\n")
    assert reader.finish(code=2, signal=None)[1].detail == (
        "The program exited with status 2: trouble"
    )
    reader = started()
    reader.feed("stderr", b"trouble\n")
    reader.feed("channel", line({"type": "error", "message": "ValueError: no"}))
    assert reader.finish(code=2, signal=None)[1].detail.endswith(": ValueError: no")
    assert started().finish(code=2, signal=None)[1].detail == "The program exited with status 2."


@pytest.mark.parametrize(
    ("signal", "name"), [(9, "SIGKILL"), (35, "signal 35"), (None, "unknown"), (999, "signal 999")]
)
def test_a_signal_is_named_as_well_as_can_be(signal: int | None, name: str) -> None:
    result = started().finish(code=None, signal=signal)[1]

    assert result.reason == "killed_by_signal"
    assert name in result.detail


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
names = ["type", "text", "answer", "call_id", "tool", "input", "output", "failed", "path", "diff"]
names += [
    "input_tokens",
    "output_tokens",
    "model",
    "message",
    "traceback",
    "from",
    "extra",
    "stdout",
]
kinds = ["start", "message", "thought", "log", "tool_call", "tool_result", "file_edit", "usage"]
kinds += ["error", "failure", "result", "other"]
objects = st.dictionaries(st.sampled_from(names), json_values).flatmap(
    lambda value: st.sampled_from(kinds).map(lambda kind: {**value, "type": kind})
)
channel_data = st.one_of(
    st.binary(max_size=200),
    objects.map(line),
)
feeds = st.lists(
    st.one_of(
        st.tuples(st.just("channel"), channel_data),
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=500)),
        st.tuples(st.just("channel"), st.sampled_from([line(SAY), line(LOG)])),
    ),
    max_size=30,
)


@given(feeds, st.integers(-1, 300), st.booleans())
def test_nothing_that_is_fed_raises(
    given_feeds: list[tuple[Stream, bytes]], code: int, flushes: bool
) -> None:
    reader = TranscriptReader()
    found: list[RunEntry] = []
    for stream, data in given_feeds:
        found += reader.feed(stream, data)
        if flushes:
            found += reader.flush()
    last, result = reader.finish(code=None if code < 0 else code, signal=None)
    found += last

    assert reader.text_bytes >= len(found) * MIN_ENTRY_BYTES
    for entry in found:
        stored = encode(entry)
        assert msgspec.json.decode(stored)
        assert len(stored) <= 2 * 6 * MAX_TEXT_BYTES + 4096
    said = "".join(entry.text for entry in found if isinstance(entry, MessageSaid))
    assert result.output in said or result.how == "completed"
    assert msgspec.json.encode(result)


@given(json_values)
def test_bounded_values_can_be_stored(value: Any) -> None:
    assert len(msgspec.json.encode(bounded(value))) <= 2 * MAX_TEXT_BYTES


def test_reported_edits_and_errors_are_entries() -> None:
    reader = started()
    found = reader.feed(
        "channel",
        line({"type": "file_edit", "path": "a/b.txt", "diff": "d" * 99_999})
        + line({"type": "error", "message": "m", "traceback": "t" * 99_999}),
    )

    assert found == [
        FileEdited(path="a/b.txt", diff="d" * MAX_TEXT_BYTES),
        ErrorReported(message="m", traceback="t" * MAX_TEXT_BYTES),
    ]
