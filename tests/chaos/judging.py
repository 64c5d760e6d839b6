"""What a check says, and all checks by name."""

from collections.abc import Callable, Sequence

from msgspec import Struct

MOST_SHOWN = 12


class Verdict(Struct, frozen=True, kw_only=True):
    """What one check found. figure: in a few words. wrong: everything that must not be."""

    name: str
    figure: str
    wrong: list[str] = []

    @property
    def ok(self) -> bool:
        """Whether the promise held."""
        return not self.wrong


type Judge[E] = Callable[[E], Verdict]


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the checks as a table for people, with what is wrong below each."""
    width = max(len(each.name) for each in verdicts)
    lines: list[str] = []
    for each in verdicts:
        lines.append(f"{'ok  ' if each.ok else 'FAIL'}  {each.name:<{width}}  {each.figure}")
        lines += [f"      {wrong}" for wrong in each.wrong[:MOST_SHOWN]]
        if len(each.wrong) > MOST_SHOWN:
            lines.append(f"      … and {len(each.wrong) - MOST_SHOWN} more")
    return "\n".join(lines)
