"""TCP to peers that may vanish without a word: that is noticed in seconds.

The kernel by itself goes on for a quarter of an hour with what is not acknowledged, and for ever
with a connection on which nothing is said.
"""

import socket
from typing import Any

VANISHED_SECONDS = 5  # without a sign of life, before a connection counts as gone
_AGAIN_SECONDS = 2
_TRIES = 3

# What a system does not have it does without.
_OPTIONS = {
    "TCP_KEEPIDLE": VANISHED_SECONDS,
    "TCP_KEEPINTVL": _AGAIN_SECONDS,
    "TCP_KEEPCNT": _TRIES,
    "TCP_USER_TIMEOUT": VANISHED_SECONDS * 1000,  # of data that is not acknowledged
}
KEEPALIVE = {getattr(socket, name): n for name, n in _OPTIONS.items() if hasattr(socket, name)}

# The same for PostgreSQL's side of a connection, which holds locks.
POSTGRES_KEEPALIVE = {
    "tcp_keepalives_idle": str(VANISHED_SECONDS),
    "tcp_keepalives_interval": str(_AGAIN_SECONDS),
    "tcp_keepalives_count": str(_TRIES),
    "tcp_user_timeout": str(VANISHED_SECONDS * 1000),
}


def keep_alive(found: Any) -> None:
    """Watch over a socket, as a transport shows it: uvloop's is none of Python's."""
    if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            found.setsockopt(socket.IPPROTO_TCP, option, value)
