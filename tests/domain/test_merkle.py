"""The frontier against RFC 6962's own definition, and against its published test vectors."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from domain.merkle import EMPTY_ROOT, Frontier, entry_leaf

# From the certificate-transparency test suite: the root after each of these leaves.
LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def frontier(leaves: list[bytes]) -> Frontier:
    grown = Frontier()
    for leaf in leaves:
        grown = grown.add(leaf)
    return grown


def root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:])).digest()


def test_published_vectors() -> None:
    grown = Frontier()
    for leaf, expected in zip(LEAVES, ROOTS, strict=True):
        grown = grown.add(bytes.fromhex(leaf))
        assert grown.root() == expected


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_the_root_is_that_of_the_definition(leaves: list[bytes]) -> None:
    grown = frontier(leaves)

    assert grown.root() == root(leaves).hex()
    assert grown.count == len(leaves)


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_a_frontier_stays_small(leaves: list[bytes]) -> None:
    edges = frontier(leaves).edges

    assert len(edges) == len(leaves).bit_count()
    assert sum(size for size, _ in edges) == len(leaves)


def test_nothing_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY_ROOT == hashlib.sha256(b"").hexdigest()


def test_a_frontier_is_a_value() -> None:
    before = frontier([b"a"])
    before.add(b"b")

    assert before == frontier([b"a"])


def test_an_entrys_place_and_type_are_proven_with_it() -> None:
    leaf = entry_leaf(3, "run.message_said", b'{"text":"x"}')

    assert leaf == b'3\nrun.message_said\n{"text":"x"}'
    assert leaf != entry_leaf(4, "run.message_said", b'{"text":"x"}')
    assert leaf != entry_leaf(3, "run.thought_said", b'{"text":"x"}')
