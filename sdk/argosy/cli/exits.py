"""Running a command: what its exit code means, and one clear line for what went wrong."""

import os
import re
import sys

import click

from argosy import errors
from argosy.cli.group import top

COMPLETED = 0
FAILED = 1
USAGE = 2
CANCELLED = 3
UNREACHABLE = 4
REFUSED = 5
DETACHED = 130

CODES = {
    COMPLETED: "done; for `invoke`: the run completed",
    FAILED: "the run or the build failed; for `doctor`: something is broken",
    USAGE: "the command or what was sent is wrong: the line on stderr says what",
    CANCELLED: "the run was cancelled",
    UNREACHABLE: "no server is known, it does not answer, or it is not able to",
    REFUSED: "the server refused: no such thing, not allowed, not in this state, a limit",
    DETACHED: "Ctrl-C: what was watched goes on",
}

_MISSING = re.compile(
    r"There is no (agent|build|deployment|model provider|policy|run|tool|workspace)\b"
)

ENDINGS = {"completed": COMPLETED, "failed": FAILED, "cancelled": CANCELLED}


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code; says on stderr, in one line, what went wrong."""
    try:
        result = top.main(arguments, prog_name="argosy", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "argosy"
        _say(f"{where}: {error.format_message()} See `{where} --help`.")
        return USAGE
    except click.ClickException as error:
        _say(error.format_message())
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return DETACHED
    except BrokenPipeError:
        # Whoever read us has gone (`| head`); nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except errors.ArgosyError as error:
        complain(error)
        return code_of(error)
    return result if isinstance(result, int) else COMPLETED


def complain(error: errors.ArgosyError) -> None:
    """Say on stderr, in one line, what went wrong."""
    _say(explain(error))


def code_of(error: errors.ArgosyError) -> int:
    """Return the exit code for an error."""
    match error:
        case errors.Malformed() | errors.Invalid() | errors.TooLarge() | errors.UnreadableSource():
            return USAGE
        case errors.Unavailable():
            return UNREACHABLE
        case errors.Refused() | errors.StillGoing():
            return REFUSED
        case _:
            return UNREACHABLE


def explain(error: errors.ArgosyError) -> str:
    """Return what is wrong, where, and the way out, in one line."""
    parts = [error.detail.strip()]
    match error:
        case errors.ServerUnreachable():
            parts.append("Start a server with `argosy dev`, or set ARGOSY_URL to the right one.")
        case errors.Unauthenticated():
            parts.append("Set ARGOSY_API_KEY to a valid key.")
        case errors.Forbidden():
            parts.append("Use a key with another role: `argosy key create` makes one.")
        case errors.NotFound() if missing := _MISSING.match(error.detail):
            noun = missing[1].replace(" ", "-")
            use = "; `argosy workspace use` chooses one" if noun == "workspace" else ""
            parts.append(f"`argosy {noun} list` shows which there are{use}.")
        case errors.Conflict(type="deployment-failed"):
            parts.append("`argosy build list` has the build; `argosy build show` says what to do.")
        case errors.LimitReached():
            parts.append(f"Try again in {error.retry_after:g} s.")
        case errors.Unavailable() if error.request_id:
            parts.append(f"The server's log has more under request {error.request_id}.")
        case _:
            pass
    field = error.field if isinstance(error, errors.Refused) else ""
    if field and not error.detail.startswith(field):
        parts.insert(0, f"{field}:")
    return " ".join(" ".join(parts).split())


def _say(line: str) -> None:
    from argosy.cli.output import clean, paint

    print(f"{paint('error:', 'red', sys.stderr)} {clean(line)}", file=sys.stderr)
