"""In a build sandbox without network: make a wheel of a source distribution, as PEP 517 has it.

The package's code runs here. Reads {"known": [requirements]} from standard input: what is installed
in `REQUIRED`. Answers {"requires": [requirements]} on standard output: what the build needs, if any
of it is not known; nothing was built then. An empty list: the wheel is in `WHEELS`.
All that the package writes goes to standard error.
Standard library only; nothing of Argosy is in that sandbox.
"""

import importlib
import json
import os
import site
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

SDIST = "/sdist/sdist"
REQUIRED = "/opt/build"
SOURCE = Path("/out/source")
WHEELS = Path("/out/wheels")
DEFAULT = {"requires": ["setuptools>=40.8.0"]}  # PEP 518, for packages that say nothing
LEGACY = "setuptools.build_meta:__legacy__"


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    known = set(json.load(sys.stdin)["known"])
    for place in (WHEELS, Path(os.environ["HOME"]), Path(os.environ["TMPDIR"])):
        place.mkdir()
    root = unpack()
    os.chdir(root)
    system = build_system(root)
    requires = list(system["requires"])
    if known.issuperset(requires):
        requires += hooked(system, root)
    if known.issuperset(requires):
        requires = []
        backend(system, root).build_wheel(str(WHEELS), None, None)
    json.dump({"requires": requires}, answer)
    answer.flush()


def unpack() -> Path:
    """Unpack the sdist and return its one directory."""
    if zipfile.is_zipfile(SDIST):
        with zipfile.ZipFile(SDIST) as archive:
            archive.extractall(SOURCE)  # noqa: S202, in a sandbox, like all that follows
    else:
        with tarfile.open(SDIST) as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extraction_filter = tarfile.data_filter
            archive.extractall(SOURCE)  # noqa: S202, as above
    found = [path for path in SOURCE.iterdir() if path.is_dir()]
    if len(found) != 1:
        sys.exit("The source distribution does not have just one directory.")
    return found[0]


def build_system(root: Path) -> dict[str, Any]:  # Any: a table of TOML
    """Return what pyproject.toml says about building, or what holds where it says nothing."""
    file = root / "pyproject.toml"
    said = tomllib.loads(file.read_text("utf-8")) if file.exists() else {}
    system = said.get("build-system", DEFAULT)
    if not isinstance(system.get("requires"), list):
        sys.exit("pyproject.toml: [build-system] must have `requires`, a list.")
    return system


def hooked(system: dict[str, Any], root: Path) -> list[str]:
    """Return what the backend asks for besides, in a process of its own: hooks leave traces."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        hook = getattr(backend(system, root), "get_requires_for_build_wheel", None)
        with os.fdopen(write, "w") as file:
            json.dump(list(hook(None)) if hook else [], file)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    if status or not said:
        sys.exit(1)  # it has said why
    return json.loads(said)


def backend(system: dict[str, Any], root: Path) -> Any:  # Any: the package's own choice
    """Import the package's build backend."""
    site.addsitedir(REQUIRED)
    for path in system.get("backend-path", []):
        sys.path.insert(0, str(root / path))
    module, _, attributes = system.get("build-backend", LEGACY).partition(":")
    found = importlib.import_module(module)
    for name in filter(None, attributes.split(".")):
        found = getattr(found, name)
    return found


if __name__ == "__main__":
    main()
