"""The agents that chaos runs, and the wheels that their builds install.

Every line that a program says carries the attempt that said it, so that the log shows whose it is.
"""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from tests.workers.packages import make_wheel

WHEELS = ("chaosalpha", "chaosbeta", "chaosgamma")
WHEEL_VERSIONS = ("1.0", "1.1", "1.2")
ENOUGH_ATTEMPTS = 20


class Program(Struct, frozen=True, kw_only=True):
    """An agent. lines: what it says, `pause` seconds after each; then it answers.

    idempotent: it may be run again whatever was seen of it.
    weight: how often clients ask for it.
    """

    name: str
    lines: int
    pause: float
    idempotent: bool
    weight: int
    silent: bool = False

    @property
    def seconds(self) -> float:
        """How long it takes by itself, its start apart."""
        return self.lines * self.pause

    def source(self, revision: int = 0) -> dict[str, str]:
        """Return its files; a revision differs from another in a comment."""
        said = "" if self.silent else "        yield f'{attempt}:{line}\\n'\n"
        return {
            "agent.py": (
                f"# revision {revision}\n"
                "import time\n\n\n"
                "def handler(request):\n"
                "    attempt = request['attempt']\n"
                f"    for line in range({self.lines}):\n"
                f"{said}"
                f"        time.sleep({self.pause})\n"
                f"    yield f'{{attempt}}:end {{request[\"message\"]}}'\n"
            )
        }


PROGRAMS: Mapping[str, Program] = {
    each.name: each
    for each in (
        Program(name="quick", lines=0, pause=0, idempotent=True, weight=3),
        Program(name="silent", lines=3, pause=0.5, idempotent=True, weight=4, silent=True),
        Program(name="talk", lines=40, pause=0.05, idempotent=True, weight=4),
        Program(name="once", lines=20, pause=0.1, idempotent=False, weight=2),
        Program(name="long", lines=12, pause=0.5, idempotent=True, weight=2),
    )
}
# Run on what is being built: it waits for that first.
BUILT = Program(name="built", lines=2, pause=0.1, idempotent=True, weight=0)


def built_source(number: int) -> tuple[dict[str, str], str]:
    """Return files and requirements of an agent whose build, mostly, was never made before."""
    name = WHEELS[number % len(WHEELS)]
    version = WHEEL_VERSIONS[number // len(WHEELS) % len(WHEEL_VERSIONS)]
    files = dict(BUILT.source(number))
    files["agent.py"] = f"import {name}\n" + files["agent.py"]
    others = [each for place, each in enumerate(WHEELS) if number >> (4 + place) & 1]
    lines = [f"{name}=={version}", *(each for each in others if each != name)]
    return files, "\n".join(lines) + "\n"


def make_wheels(folder: Path) -> None:
    """Make the folder of wheels that builds install from."""
    for name in WHEELS:
        for version in WHEEL_VERSIONS:
            make_wheel(folder, name, version)
