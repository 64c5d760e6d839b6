"""What a seed decides: which faults there are, in which order and when; and what clients ask for.

A seed repeats all of that. It cannot repeat which run is where when a fault comes, how far a
process is with what it does, or which of several sandboxes there are: a fault carries a number
drawn in advance, by which it picks among what it finds.
"""

from collections.abc import Iterator, Mapping
from random import Random

from msgspec import Struct

SHORT_STOP_SECONDS = (0.3, 2.0)
PAUSE_SECONDS = (0.5, 2.2)

type Action = str

# How many cards of each are in a deck. Every deck is dealt to its end, so that a run of some
# length has had everything.
DECK: Mapping[tuple[str, Action], int] = {
    ("host", "kill"): 3,
    ("host", "stop"): 1,
    ("host", "stop for long"): 2,
    ("host", "restart"): 1,
    ("sandbox", "kill"): 2,
    ("sandbox", "stop"): 1,
    ("api", "kill"): 2,
    ("api", "stop"): 1,
    ("api", "stop for long"): 1,
    ("api", "restart"): 1,
    ("build", "kill"): 2,
    ("build", "stop for long"): 1,
    ("build", "restart"): 1,
    ("dispatch", "kill"): 1,
    ("dispatch", "stop"): 1,
    ("dispatch", "stop for long"): 1,
    ("dispatch", "restart"): 1,
    ("projector", "kill"): 1,
    ("projector", "stop"): 1,
    ("projector", "stop for long"): 1,
    ("projector", "restart"): 1,
    ("reap", "kill"): 1,
    ("reap", "stop for long"): 1,
    ("reap", "restart"): 1,
    ("redis", "kill"): 2,
    ("redis", "stop"): 1,
    ("redis", "restart"): 1,
    ("postgres", "kill a backend"): 2,
    ("postgres", "stop"): 1,
    ("postgres", "stop for long"): 1,
    ("postgres", "restart"): 1,
    ("postgres", "restart at once"): 1,
    ("disk", "fill"): 1,
}


class Stroke(Struct, frozen=True, kw_only=True):
    """One fault to come. pause: seconds after the one before. seconds: how long it lasts.

    rank: picks one of several, modulo their number.
    """

    number: int
    part: str
    action: Action
    pause: float
    seconds: float
    rank: int


class Wish(Struct, frozen=True, kw_only=True):
    """One thing that a client does next. number: of all wishes, from 1.

    cancel_after: seconds until somebody asks for the run's end; 0: nobody does.
    hang_up_after: how many frames its subscribers read of one connection.
    again: the command is sent once more after its answer. twice: it is sent twice at once.
    """

    number: int
    kind: str
    workspace: int
    program: str
    cancel_after: float
    subscribers: int
    hang_up_after: int
    again: bool
    twice: bool


def schedule(
    seed: int,
    kills: int,
    parts: set[str],
    lease_seconds: float,
    deck: Mapping[tuple[str, Action], int] = DECK,
) -> list[Stroke]:
    """Return the faults of a run. parts: what there is to hit."""
    random = Random(f"{seed} faults")
    cards = [card for card, count in deck.items() if card[0] in parts for _ in range(count)]
    strokes: list[Stroke] = []
    left: list[tuple[str, Action]] = []
    for number in range(1, kills + 1):
        if not left:
            left = list(cards)
            random.shuffle(left)
        part, action = left.pop()
        seconds = random.uniform(*SHORT_STOP_SECONDS)
        if action == "stop for long":
            seconds = lease_seconds + random.uniform(0.5, 3.0)
        strokes.append(
            Stroke(
                number=number,
                part=part,
                action=action,
                pause=random.uniform(*PAUSE_SECONDS),
                seconds=round(seconds, 3),
                rank=random.randrange(1 << 16),
            )
        )
    return strokes


def wishes(seed: int, workspaces: int, programs: dict[str, int]) -> Iterator[Wish]:
    """Yield what clients ask for, without end. programs: how often each is run, by name."""
    random = Random(f"{seed} clients")
    number = 0
    while True:
        number += 1
        kind = random.choices(("run", "deploy", "build"), (8, 1, 2))[0]
        program = random.choices(list(programs), list(programs.values()))[0]
        yield Wish(
            number=number,
            kind=kind,
            workspace=random.randrange(workspaces),
            program=program,
            cancel_after=random.uniform(0.1, 3.0) if random.random() < 0.12 else 0.0,
            subscribers=random.choice((0, 1, 1, 2)),
            hang_up_after=random.choice((1, 3, 7, 20, 1000)),
            again=random.random() < 0.2,
            twice=random.random() < 0.1,
        )
