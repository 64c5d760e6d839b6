"""Texts are cut without losing, doubling or growing anything, however the bytes arrive."""

from hypothesis import example, given
from hypothesis import strategies as st

from domain.entries import LogWritten, MessageSaid, RunEntry, ToolCalled
from workers.harnesses.harness import MAX_TEXT_BYTES
from workers.harnesses.lines import (
    BURST_LINES,
    ChannelLines,
    Kept,
    Lines,
    Piece,
    Speech,
    joined,
    split_text,
    whole_characters,
)

any_bytes = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from([b"\n", b"\r\n", "ü😀".encode(), b"\xf0\x9f", b"\xff" * 40_000, b"a" * 40_000]),
    st.just(b"line\n" * 2_000),
)


@given(st.lists(any_bytes, max_size=12), st.booleans())
@example([b"\xff" * 40_000, b"\n"], True)
@example(["ü".encode() * 20_000], False)
def test_what_is_said_is_what_was_written(chunks: list[bytes], flushes: bool) -> None:
    lines, speech = Lines(), Speech()
    texts: list[str] = []
    for chunk in chunks:
        texts += speech.say(lines.feed(chunk))
        if flushes:
            texts += speech.say(lines.flush())
    texts += speech.say(lines.finish())

    written = b"".join(chunks)
    if written.endswith(b"\n"):
        written = written[:-1]
    said = "".join(texts)
    if b"\xff" not in written and _is_utf8(written):
        assert said == written.decode()
    assert said.count("\n") == written.count(b"\n")
    assert all(0 < len(text.encode()) <= MAX_TEXT_BYTES for text in texts)


@given(st.lists(any_bytes, max_size=12))
def test_every_line_ends_once(chunks: list[bytes]) -> None:
    lines = Lines()
    pieces: list[Piece] = []
    for chunk in chunks:
        pieces += lines.feed(chunk)
    pieces += lines.finish()

    ends = sum(piece.text.count("\n") + piece.ended for piece in pieces)
    assert ends == b"".join(chunks).count(b"\n")


def test_a_line_is_one_piece_and_a_burst_is_few() -> None:
    few = Lines().feed(b"a\nb\n\nc")
    many = Lines().feed(b"x\n" * 30_000)

    assert few == [Piece("a", ended=True), Piece("b", ended=True), Piece("", ended=True)]
    assert len(many) == 4
    assert sum(piece.text.count("x") for piece in many) == 30_000


def test_a_line_without_end_is_held_up_to_a_limit() -> None:
    lines = Lines()
    pieces = [piece for _ in range(1_000) for piece in lines.feed(b"y" * 1_000)]

    assert sum(len(piece.text) for piece in pieces) > 1_000_000 - MAX_TEXT_BYTES
    assert not any(piece.ended for piece in pieces)


def test_half_a_character_waits_for_the_other() -> None:
    lines = Lines()
    first = lines.feed("ü".encode()[:1])

    assert first + lines.flush() == []
    assert lines.feed("ü".encode()[1:]) + lines.flush() == [Piece("ü", ended=False)]


@given(st.text(max_size=20), st.integers(min_value=0, max_value=80))
def test_whole_characters_decode(text: str, cut: int) -> None:
    data = text.encode("utf-8", "replace")[:cut]

    stop = whole_characters(data)

    assert data[:stop].decode() is not None
    assert len(data) - stop < 4


def test_a_channel_line_that_is_too_long_is_dropped_alone() -> None:
    lines = ChannelLines(10)

    assert lines.feed(b"one\n" + b"x" * 8) == [b"one"]
    assert lines.feed(b"x" * 8) == []
    assert lines.feed(b"x" * 100_000) == []
    assert lines.feed(b"tail of it\ntwo\n" + b"y" * 11 + b"\n\nthree\n") == [b"two", b"three"]
    assert lines.take_dropped() == 3  # an empty one among them
    assert lines.take_dropped() == 0
    assert not lines.finish()


def test_neighbours_of_one_kind_are_joined_as_far_as_they_fit() -> None:
    found: list[RunEntry] = [
        MessageSaid(text="a"),
        MessageSaid(text="b"),
        ToolCalled(call_id="1", tool="t"),
        LogWritten(stream="stdout", line="c"),
        LogWritten(stream="stdout", line="d"),
        LogWritten(stream="stderr", line="e"),
        MessageSaid(text="f" * MAX_TEXT_BYTES),
        MessageSaid(text="g"),
    ]

    assert joined(found) == [
        MessageSaid(text="ab"),
        ToolCalled(call_id="1", tool="t"),
        LogWritten(stream="stdout", line="c\nd"),
        LogWritten(stream="stderr", line="e"),
        MessageSaid(text="f" * MAX_TEXT_BYTES),
        MessageSaid(text="g"),
    ]
    assert len(joined([MessageSaid(text="ü" * 100)] * (BURST_LINES * 10))) < BURST_LINES


@given(st.text(max_size=50_000))
@example("ü" * 30_000)
def test_a_text_is_split_into_entries(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()

    parts = split_text(text)

    assert "".join(parts) == text
    assert all(len(part.encode()) <= MAX_TEXT_BYTES for part in parts)


def test_the_beginning_of_a_text_is_kept() -> None:
    kept = Kept(5)
    kept.add("abc")
    assert (kept.text(), kept.complete) == ("abc", True)
    kept.add("üü")
    kept.add("x")

    assert (kept.text(), kept.complete) == ("abcü", False)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
