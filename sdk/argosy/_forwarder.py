"""Offer the gateway's socket on a port of the sandbox's loopback, from a process of its own.

The process is nobody's child whom the agent's code could wait for, holds none of its pipes, and
costs next to nothing until somebody connects. Whatever becomes of it, it is the sandbox's own: the
gateway trusts it no more than the agent. In-sandbox code: see `_channel`.

`python _forwarder.py PORT PROGRAM [ARGUMENT…]` starts it and becomes the program.
"""

import os
import sys

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

GATEWAY = "/run/argosy/gateway.sock"
WAITING = 128  # connections that nobody accepted yet
MAX_PAIRS = 192
AGAIN_SECONDS = 0.02  # when the gateway lets no more connections wait
PIECE = 65_536  # bytes held for one direction of one connection

_NOTHING = "/dev/null"
_HIGHEST = 65_536  # more descriptors than a program is started with
_QUIET = (1, 2, 13, 15)  # SIGHUP, SIGINT, SIGPIPE, SIGTERM: what is sent to everybody


def start(port: int, gateway: str = GATEWAY) -> int:
    """Listen on 127.0.0.1:`port` from now on; returns what `settle` is to be given.

    Raises OSError.
    """
    import _socket  # noqa: PLC0415 - a fifth of what `socket` costs

    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(WAITING)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # Its parent is gone at once, so that it is the sandbox's first process's child.
            if os.fork() == 0:
                _serve(listener, gateway)
            code = 0
        finally:
            os._exit(code)
    listener.close()
    return child


def settle(child: int) -> None:
    """Wait for the process between, before anybody else could. Raises OSError if it failed.

    It is done by now if something else was done meanwhile.
    """
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise OSError("the forwarder could not be started")


def _serve(listener: "socket", gateway: str) -> None:
    os.setsid()
    signals = __import__("_signal")
    for number in _QUIET:
        signals.signal(number, signals.SIG_IGN)
    kept = listener.fileno()
    os.closerange(0, kept)
    os.closerange(kept + 1, _HIGHEST)
    for _ in range(min(3, kept)):  # what is written to standard error must not reach a connection
        os.open(_NOTHING, os.O_RDWR)
    _Forwarder(listener, gateway).run(_accepted(listener))


def _accepted(listener: "socket") -> int:
    """Do what `socket.accept` does, and return the descriptor."""
    accept: Any = getattr(listener, "_accept")  # noqa: B009 - no stub knows it
    descriptor: int = accept()[0]
    return descriptor


class _Way:
    """One direction of a connection: bytes from `source` to `sink`, PIECE of them at most held.

    ended: the source says no more. over: so does the sink know. dead: the sink takes no more.
    """

    def __init__(self, source: int, sink: "socket") -> None:
        self.source = source
        self.sink = sink
        self.held = b""
        self.ended = self.over = self.dead = False

    def move(self) -> bool:
        """Do what can be done without waiting; returns whether the source said something."""
        self._write()
        said = b""
        if not self.held and not self.ended:
            said = self.held = self._read()
            self._write()
        if self.ended and not self.held and not self.over:
            self.over = True
            try:
                self.sink.shutdown(1)  # SHUT_WR
            except OSError:
                self.dead = True
        return said != b""

    def _read(self) -> bytes:
        try:
            data = os.read(self.source, PIECE)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        self.ended = not data
        return data

    def _write(self) -> None:
        try:
            if self.held and not self.dead:
                self.held = self.held[os.write(self.sink.fileno(), self.held) :]
        except BlockingIOError:
            return
        except OSError:
            self.dead = True
        if self.dead:
            self.held = b""  # the source is still read, so that it is not stopped in its writing


class _Pair:
    """An agent's connection and the gateway's, both ways between them."""

    def __init__(self, agent: "socket", gateway: "socket") -> None:
        self.agent, self.gateway = agent, gateway
        self.up = _Way(agent.fileno(), gateway)
        self.down = _Way(gateway.fileno(), agent)
        self.has_hung_up = False  # the gateway

    def move(self) -> bool:
        """Move bytes both ways; returns False when nothing will ever move again."""
        self.up.move()
        self.down.move()
        if self.down.dead or (self.up.over and self.down.over):
            return False
        if self.has_hung_up and self.down.over and not self.up.dead:
            # Closing before the agent has said all would take from it what it did not read yet.
            self.up.dead = True
            return self.up.move()
        return True

    def close(self) -> None:
        self.agent.close()
        self.gateway.close()


class _Forwarder:
    """Serves all connections, in one thread that never waits for one of them."""

    def __init__(self, listener: "socket", gateway: str) -> None:
        import _socket  # noqa: PLC0415 - nothing is imported before the first connection
        import select  # noqa: PLC0415 - as above

        self._sockets: Any = _socket
        self._select = select
        self._listener = listener
        self._gateway = gateway
        self._poll = select.epoll()
        self._pairs: dict[int, _Pair] = {}
        self._watched: dict[int, int] = {}
        self._early: socket | None = None  # an agent's connection that the gateway has no room for

    def run(self, first: int) -> None:
        self._listener.setblocking(False)
        self._begin(self._sockets.socket(fileno=first))
        while True:
            if self._early is not None:
                self._begin(self._early)
            room = self._early is None and len(self._pairs) < 2 * MAX_PAIRS
            self._watch(self._listener.fileno(), self._select.EPOLLIN if room else 0)
            touched: dict[_Pair, None] = {}
            for descriptor, event in self._poll.poll(AGAIN_SECONDS if self._early else None):
                pair = self._pairs.get(descriptor)
                if pair is None:
                    self._accept()
                    continue
                hangs_up = event & (self._select.EPOLLHUP | self._select.EPOLLERR)
                if hangs_up and descriptor == pair.gateway.fileno():
                    pair.has_hung_up = True
                touched[pair] = None
            for pair in touched:
                self._go_on(pair)

    def _accept(self) -> None:
        try:
            descriptor = _accepted(self._listener)
        except OSError:  # gone again, or there are no descriptors left
            return
        self._begin(self._sockets.socket(fileno=descriptor))

    def _begin(self, agent: "socket") -> None:
        self._early = None
        gateway = self._sockets.socket(self._sockets.AF_UNIX, self._sockets.SOCK_STREAM)
        agent.setblocking(False)
        gateway.setblocking(False)
        try:
            agent.setsockopt(self._sockets.IPPROTO_TCP, self._sockets.TCP_NODELAY, 1)
            gateway.connect(self._gateway)
        except BlockingIOError:
            self._early = agent
            gateway.close()
            return
        except OSError:  # there is no gateway any more
            agent.close()
            gateway.close()
            return
        pair = _Pair(agent, gateway)
        self._pairs[agent.fileno()] = self._pairs[gateway.fileno()] = pair
        self._go_on(pair)

    def _go_on(self, pair: _Pair) -> None:
        agent, gateway = pair.agent.fileno(), pair.gateway.fileno()
        if pair.move():
            self._watch(agent, self._wanted(pair.up, pair.down))
            self._watch(gateway, self._wanted(pair.down, pair.up))
            return
        for descriptor in (agent, gateway):
            self._watch(descriptor, 0)
            del self._pairs[descriptor]
        pair.close()

    def _wanted(self, reads: _Way, writes: _Way) -> int:
        reading = self._select.EPOLLIN if not reads.held and not reads.ended else 0
        return reading | (self._select.EPOLLOUT if writes.held else 0)

    def _watch(self, descriptor: int, events: int) -> None:
        """Be told of `events`; of none, not even of the end, which would be told without end."""
        before = self._watched.get(descriptor, 0)
        if events and not before:
            self._poll.register(descriptor, events)
        elif before and not events:
            self._poll.unregister(descriptor)
        elif events != before:
            self._poll.modify(descriptor, events)
        self._watched[descriptor] = events


def main(arguments: "list[str]") -> None:
    """Start it for a program that is not Python, and become that program."""
    port, *program = arguments
    settle(start(int(port)))
    os.execvp(program[0], program)  # noqa: S606 - the program that it is told


if __name__ == "__main__":
    main(sys.argv[1:])
