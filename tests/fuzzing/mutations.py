"""Bytes that were good once."""

from collections.abc import Iterator, Sequence

from hypothesis import strategies as st


@st.composite
def mutated(draw: st.DrawFn, good: bytes, pieces: Sequence[str | bytes]) -> bytes:
    """Return bytes with some parts left out, doubled, moved, or replaced by pieces or garbage."""
    found = bytearray(good)
    places = st.integers(0, len(good))
    splice = st.sampled_from([each.encode() if isinstance(each, str) else each for each in pieces])
    for _ in range(draw(st.integers(0, 6))):
        start = min(draw(places), len(found))
        stop = min(start + draw(st.integers(0, 40)), len(found))
        match draw(st.sampled_from(["cut", "double", "piece", "garbage", "byte"])):
            case "cut":
                del found[start:stop]
            case "double":
                found[start:start] = found[start:stop]
            case "piece":
                found[start:stop] = draw(splice)
            case "garbage":
                found[start:stop] = draw(st.binary(max_size=20))
            case _:
                found[start : start + 1] = bytes([draw(st.integers(0, 255))])
    return bytes(found)


def cut(data: bytes, draws: st.DataObject) -> Iterator[bytes]:
    """Yield the bytes in chunks of any size."""
    size = draws.draw(st.integers(1, max(1, len(data))))
    for start in range(0, len(data), size):
        yield data[start : start + size]
