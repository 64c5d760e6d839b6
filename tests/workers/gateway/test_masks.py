"""Masks: a secret is found however a stream is cut, and nothing else is changed."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from workers.gateway.masks import Mask

PIECES = ["abab", "aba", "ab", "a", "b", "c/d", "c%2Fd", "c%2fd", "c\\/d", "x"]


@given(st.lists(st.sampled_from(PIECES)), st.lists(st.integers(0, 60)))
@example(["abab", "a"], [2])
def test_a_stream_is_masked_as_the_whole_is(pieces: list[str], cuts: list[int]) -> None:
    text = "".join(pieces).encode()
    secrets = ("abab", "c/d")
    mask, whole = Mask(*secrets), Mask(*secrets)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]

    parts = [mask.feed(text[a:b]) for a, b in pairwise(edges)]
    masked = b"".join([*parts, mask.close()])

    assert masked == whole.feed(text) + whole.close()
    assert len(masked) == len(text)
    for secret in (b"abab", b"c/d", b"c%2Fd", b"c\\/d"):
        assert secret not in masked


@given(st.binary(max_size=50))
def test_without_a_secret_nothing_is_changed_or_held_back(data: bytes) -> None:
    assert Mask("").feed(data) == data


def test_only_what_may_be_a_secrets_beginning_is_held_back() -> None:
    mask = Mask("secret-key")

    assert mask.feed(b"no secret") == b"no "
    assert mask.feed(b"s, none") == b"secrets, none"


def test_a_text_is_masked_however_it_is_encoded() -> None:
    mask = Mask("a/b c")

    assert mask.text("key=a/b c") == "key=*****"
    assert mask.text("key=a%2Fb%20c") == "key=*********"
    assert "b" not in mask.text("key=%61%2fb%20c")
    assert mask.text("key=other") == "key=other"
