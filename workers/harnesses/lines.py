"""Cut what a hostile program writes into texts of bounded size, holding a bounded amount of it."""

from msgspec import Struct

from domain.entries import LogWritten, MessageSaid, RunEntry, ThoughtSaid
from workers.harnesses.harness import MAX_TEXT_BYTES

# More lines than this in one piece of output are not told apart: they become texts of many lines,
# so that a million short lines cost a few hundred entries.
BURST_LINES = 64

# One byte is left for the line end that `Speech` puts in front of a text.
_MAX_PIECE = MAX_TEXT_BYTES - 1
_MAX_CHARACTERS = MAX_TEXT_BYTES // 4


class Piece(Struct, frozen=True):
    """A line, several lines, or a part of a long one; `ended` if a line end followed."""

    text: str
    ended: bool


class Lines:
    """Cuts a stream at its line ends. Bytes that are no UTF-8 become U+FFFD."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[Piece]:
        """Return what `data` completes."""
        data = self._pending + data
        end = data.rfind(b"\n") + 1
        pieces = _cut(data[:end])
        start = end
        while len(data) - start > _MAX_PIECE:
            stop = start + whole_characters(data[start : start + _MAX_PIECE])
            pieces += _decoded(data[start:stop], ended=False)
            start = stop
        self._pending = data[start:]
        return pieces

    def flush(self) -> list[Piece]:
        """Return what has no line end yet, but for the beginning of a character."""
        stop = whole_characters(self._pending)
        pieces = _decoded(self._pending[:stop], ended=False) if stop else []
        self._pending = self._pending[stop:]
        return pieces

    def finish(self) -> list[Piece]:
        """Return all that is left."""
        pieces = _decoded(self._pending, ended=False) if self._pending else []
        self._pending = b""
        return pieces


class Speech:
    """Turns pieces into texts that, put together, are what was written but for its last line end.

    A line end is put in front of what follows it, so a single line is a text without one.
    """

    def __init__(self) -> None:
        self._owes_line_end = False

    def say(self, pieces: list[Piece]) -> list[str]:
        """Return the texts of `pieces`, the empty ones left out."""
        texts: list[str] = []
        for piece in pieces:
            text = f"\n{piece.text}" if self._owes_line_end else piece.text
            self._owes_line_end = piece.ended
            if text:
                texts.append(text)
        return texts


class Kept:
    """The first `most` bytes of a text that grows; `complete` if that is all of it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._texts: list[str] = []
        self._bytes = 0
        self.complete = True

    def add(self, text: str) -> None:
        """Append a text."""
        if not self.complete:
            return
        encoded = text.encode()
        room = self._most - self._bytes
        if len(encoded) > room:
            self.complete = False
            text = encoded[:room].decode("utf-8", "ignore")
        self._texts.append(text)
        self._bytes += min(len(encoded), room)

    def text(self) -> str:
        """Return what was kept."""
        return "".join(self._texts)


class ChannelLines:
    """Cuts a stream into lines of at most `limit` bytes; counts the longer and empty ones."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._is_dropping = False
        self._dropped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes."""
        first, end, rest = data.partition(b"\n")
        if not end:
            self._hold(first)
            return []
        self._hold(first)
        was_dropping = self._is_dropping  # and is counted
        lines = [b"" if was_dropping else bytes(self._pending)]
        self._pending.clear()
        self._is_dropping = False
        *more, rest = rest.split(b"\n")
        self._hold(rest)
        kept = [line for line in (*lines, *more) if 0 < len(line) <= self._limit]
        self._dropped += 1 + len(more) - len(kept) - was_dropping
        return kept

    def _hold(self, data: bytes) -> None:
        """Add to the line that is not complete, or begin to drop it."""
        if not self._is_dropping and len(self._pending) + len(data) > self._limit:
            self._is_dropping = True
            self._dropped += 1
            self._pending.clear()
        if not self._is_dropping:
            self._pending += data

    def take_dropped(self) -> int:
        """Return how many lines were dropped since this was last asked."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def finish(self) -> bool:
        """Whether the stream ended in the middle of a line."""
        return bool(self._pending)


def split_text(text: str) -> list[str]:
    """Return a text in pieces of at most MAX_TEXT_BYTES of UTF-8."""
    size = MAX_TEXT_BYTES if text.isascii() else _MAX_CHARACTERS
    return [text[start : start + size] for start in range(0, len(text), size)]


def joined(found: list[RunEntry]) -> list[RunEntry]:
    """Put neighbours of one kind into one entry, as far as one holds them."""
    made: list[RunEntry] = []
    for entry in found:
        together = _together(made[-1], entry) if made else None
        if together is None:
            made.append(entry)
        else:
            made[-1] = together
    return made


def _together(first: RunEntry, second: RunEntry) -> RunEntry | None:
    match first, second:
        case MessageSaid(text=text), MessageSaid(text=more) if _fits(text, more):
            return MessageSaid(text=text + more)
        case ThoughtSaid(text=text), ThoughtSaid(text=more) if _fits(text, more):
            return ThoughtSaid(text=text + more)
        case LogWritten(stream=stream, line=line), LogWritten(line=more) if (
            stream == second.stream and _fits(line, more)
        ):
            return LogWritten(stream=stream, line=f"{line}\n{more}")
        case _:
            return None


def _fits(text: str, more: str) -> bool:
    most = MAX_TEXT_BYTES if text.isascii() and more.isascii() else _MAX_CHARACTERS
    return len(text) + len(more) < most


def whole_characters(data: bytes) -> int:
    """Return how many bytes of `data` come before a UTF-8 character that is not complete."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return len(data) - back if needed > back else len(data)
    return len(data)


def _cut(data: bytes) -> list[Piece]:
    """Cut complete lines."""
    pieces: list[Piece] = []
    is_burst = data.count(b"\n") > BURST_LINES
    start = 0
    while start < len(data):
        if is_burst:
            stop = data.rfind(b"\n", start, start + _MAX_PIECE)
        else:
            stop = data.find(b"\n", start, start + _MAX_PIECE)
        if stop >= 0:
            pieces += _decoded(data[start:stop], ended=True)
            start = stop + 1
        else:
            stop = start + whole_characters(data[start : start + _MAX_PIECE - 1])
            pieces += _decoded(data[start:stop], ended=False)
            start = stop
    return pieces


def _decoded(data: bytes, *, ended: bool) -> list[Piece]:
    text = data.decode("utf-8", "replace")
    # A byte that is no UTF-8 becomes three.
    if len(text) <= _MAX_CHARACTERS or len(text.encode()) <= _MAX_PIECE:
        return [Piece(text, ended)]
    size = _MAX_CHARACTERS - 1
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    return [*(Piece(part, ended=False) for part in parts[:-1]), Piece(parts[-1], ended)]
