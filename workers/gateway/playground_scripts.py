"""What a message tells the playground model to do, line by line.

/call NAME JSON   calls a tool; several lines call several at once
/say TEXT         says this; `{result}` stands for what the tools answered
/fail STATUS TEXT answers an error
/slow SECONDS     waits before the answer and between its pieces
/break            breaks the connection in the middle of the answer
/then             begins what comes next, after the tools have answered
"""

import math

import msgspec
from msgspec import Struct

from domain.errors import Malformed
from workers.gateway.vendors import UNREADABLE

LONGEST_SECONDS = 120.0


class Step(Struct):
    """One answer. `message`: the lines that are no commands."""

    message: str = ""
    text: str = ""
    calls: list[tuple[str, str]] = []
    fail_status: int = 0
    slow_seconds: float = 0.0
    breaks: bool = False


def read_steps(message: str) -> list[Step]:
    """Return a message's steps, at least one. Raises Malformed for a command that makes none."""
    steps = [Step()]
    for line in message.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "/then":
            steps.append(Step())
        elif not _take(steps[-1], word, rest.strip()):
            steps[-1].message += f"{line}\n"
    return steps


def _take(step: Step, word: str, rest: str) -> bool:
    """Do what a line says; returns whether it is a command."""
    match word:
        case "/call":
            step.calls.append(_call(rest))
        case "/say":
            step.text += f"\n{rest}" if step.text else rest
        case "/fail":
            status, _, text = rest.partition(" ")
            if not status.isascii() or not status.isdigit() or not 400 <= int(status) <= 599:
                raise Malformed("/fail needs a status from 400 to 599, such as `/fail 429`.")
            step.fail_status, step.text = int(status), text
        case "/slow":
            step.slow_seconds = _seconds(rest)
        case "/break":
            step.breaks = True
        case _:
            return False
    return True


def _call(rest: str) -> tuple[str, str]:
    name, _, arguments = rest.partition(" ")
    arguments = arguments.strip() or "{}"
    try:
        msgspec.json.decode(arguments, type=dict)
    except UNREADABLE as error:
        raise Malformed(f"/call needs a tool's name and a JSON object after it: {error}") from None
    if not name:
        raise Malformed('/call needs a tool\'s name, such as `/call echo {"message": "hi"}`.')
    return name, arguments


def _seconds(rest: str) -> float:
    try:
        seconds = float(rest)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise Malformed(f"/slow needs seconds from 0 to {LONGEST_SECONDS:g}, such as `/slow 0.5`.")
    return seconds
