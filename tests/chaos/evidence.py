"""What one run of the chaos suite saw of faults, clients and processes, and what was left: data.

The checks read nothing else, so that each can be shown to fail on a doctored copy.
"""

from typing import Any

from msgspec import Struct

from domain.decider import Recorded

type Rows = dict[str, dict[str, Any]]
"""A read model: its rows by id."""


class Fault(Struct, kw_only=True):
    """Something that was done to one part of the installation. Times are the machine's, in seconds.

    part: `host`, `build`, `redis`…; name: which of them (`host-1`).
    pid: the process that was hit, 0 where there is none.
    back: when it served again: its replacement was ready, or it was let go on. 0: never.
    froze_log: while it stood still nobody could write the log: it held the lock.
    """

    number: int
    part: str
    name: str
    action: str
    began: float
    pid: int = 0
    back: float = 0.0
    detail: str = ""
    froze_log: bool = False


class Answered(Struct, kw_only=True):
    """One answer to a command. id: of the run or revision that it made; build: of its build."""

    status: int
    id: str = ""
    build: str = ""


class Sent(Struct, kw_only=True):
    """A command as one client sent it, under one idempotency key, until it had an answer.

    key: also the command's id in the log. subject: the run that a cancellation is about.
    program: which of the programs a run runs.
    """

    key: str
    kind: str
    workspace_id: str
    program: str = ""
    subject: str = ""
    answers: list[Answered] = []
    broken: int = 0

    @property
    def acknowledged(self) -> Answered | None:
        """The first answer that says that it was done."""
        return next((each for each in self.answers if 200 <= each.status < 300), None)


class Followed(Struct, kw_only=True):
    """What one subscriber saw over all its connections.

    stream: the run or build that it followed; empty for a workspace's log.
    frames: id and data of each frame that has an id, in the order in which they came.
    """

    stream: str
    workspace_id: str
    frames: list[tuple[int, dict[str, Any]]] = []
    connections: int = 0
    done: bool = False


class Peeked(Struct, kw_only=True):
    """What a key saw of a workspace that is not its own. status of a request, ids of a list."""

    path: str
    status: int = 0
    foreign: list[str] = []


class Death(Struct, kw_only=True):
    """The end of one process. asked: by us, in order. fault: the one it died of, or 0.

    ready: it had said that it was.
    """

    name: str
    pid: int
    at: float
    code: int
    asked: bool = False
    fault: int = 0
    ready: bool = False


class Said(Struct, kw_only=True):
    """A line of a process's log that says of an error, or that no logger wrote (a traceback)."""

    name: str
    line: str


class Head(Struct, kw_only=True):
    """A row of `streams`."""

    version: int
    folding_version: int


class Evidence(Struct, kw_only=True):
    """Everything that is judged.

    events: the whole log, entries too, by stream and version.
    settled: when the last fault was over and no more work was asked for.
    """

    seed: int
    database: str
    lease_seconds: float
    faults: list[Fault] = []
    missed: list[str] = []
    sent: list[Sent] = []
    followed: list[Followed] = []
    peeked: list[Peeked] = []
    deaths: list[Death] = []
    said: list[Said] = []
    events: list[Recorded[Any]] = []
    heads: dict[str, Head] = {}
    log_position: int = 0
    served: dict[str, Rows] = {}
    served_positions: dict[str, int] = {}
    rebuilt: dict[str, Rows] = {}
    left: list[str] = []
    settled: float = 0.0
    seconds: float = 0.0
    worst_lag: float = 0.0
