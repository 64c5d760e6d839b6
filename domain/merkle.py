"""RFC 6962 Merkle tree hashes over entries, computed as they come."""

import hashlib

from msgspec import Struct

EMPTY_ROOT = hashlib.sha256().hexdigest()


def entry_leaf(version: int, type_: str, data: bytes) -> bytes:
    """Return an entry's leaf: its place in the stream and its type are part of what is proven."""
    return b"%d\n%s\n%s" % (version, type_.encode(), data)


class Frontier(Struct, frozen=True):
    """The right edge of the tree: (size of a full subtree, its hash), largest first."""

    count: int = 0
    edges: tuple[tuple[int, bytes], ...] = ()

    def add(self, leaf: bytes) -> "Frontier":
        """Return the frontier with one more leaf."""
        size, node = 1, hashlib.sha256(b"\x00" + leaf).digest()
        edges = list(self.edges)
        while edges and edges[-1][0] == size:
            _, left = edges.pop()
            size, node = size * 2, hashlib.sha256(b"\x01" + left + node).digest()
        return Frontier(self.count + 1, (*edges, (size, node)))

    def root(self) -> str:
        """Return the tree's root, hex; of no leaves, the hash of nothing."""
        if not self.edges:
            return EMPTY_ROOT
        node = self.edges[-1][1]
        for _, left in reversed(self.edges[:-1]):
            node = hashlib.sha256(b"\x01" + left + node).digest()
        return node.hex()
