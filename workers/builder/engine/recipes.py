"""What an engine is given: a Dockerfile, and the files that it may copy.

It is the source's own, or one of ours for system packages and other Pythons. A version that is
built by ours is started and asked by the same modules as every other, beside its own Python.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from domain.dockerfiles import Dockerfile, read_dockerfile, read_system_packages
from domain.errors import Invalid
from domain.execution import SYSTEM_FILES, SourceDefinition, dockerfile_of
from domain.images import PORT
from domain.requirements import REQUIREMENTS_FILE
from workers.builder.failures import Failure
from workers.builder.indexes import PackageIndex, index_urls
from workers.builder.oci.manifests import agent_environment
from workers.builder.requirements import read_requirements
from workers.builder.tools import BuildTools
from workers.harnesses.runtimes import runtime_files
from workers.harnesses.tasks import DEPENDENCIES, PYTHON_FLAGS, RUNTIME, START
from workers.pool import SOURCE

DOCKERFILE = "Dockerfile"
OWNER = "1000:1000"

_LOOK_AT_INDEX = "The operator must configure another package index; then deploy again."


class Recipe(Struct, frozen=True, kw_only=True):
    """A Dockerfile and the files beside it, by path."""

    dockerfile: Dockerfile
    path: str
    files: Mapping[str, bytes]


async def find_recipe(
    tools: BuildTools, agent_name: str, definition: SourceDefinition
) -> Recipe | Failure:
    """Return how a source becomes an image. Raises NotFound for a lost file, and Unavailable."""
    contents = await tools.blobs.get_all(list(definition.files.values()))
    files: dict[str, bytes] = dict(zip(definition.files, contents, strict=True))
    try:
        if path := dockerfile_of(files):
            if definition.requirements:  # sent as a field, and Dockerfiles copy the file
                files.setdefault(REQUIREMENTS_FILE, f"{definition.requirements}\n".encode())
            return Recipe(dockerfile=_read(_text(files[path]), path), path=path, files=files)
        return _for_packages(tools, agent_name, definition, files)
    except Invalid as refusal:  # of what an older server has not looked at
        return Failure(step="plan", detail=refusal.detail)


def _for_packages(
    tools: BuildTools,
    agent_name: str,
    definition: SourceDefinition,
    files: Mapping[str, bytes],
) -> Recipe | Failure:
    """Return one that installs Debian's packages and Python's, and starts the agent as we do."""
    requirements = read_requirements(definition.requirements)
    if isinstance(requirements, Failure):
        return requirements
    packages = [
        package
        for path in SYSTEM_FILES
        for package in read_system_packages(_text(files.get(path, b"")), path=path)
    ]
    given = {f"source/{path}": content for path, content in files.items()}
    given |= {f"runtime/{path}": content for path, content in runtime_files().items()}
    python = definition.python or tools.base.python
    lines = [f"FROM {tools.settings.engine_image.format(python=python)}"]
    if packages:
        lines.append(
            "RUN apt-get update && apt-get install -y --no-install-recommends "
            f"{' '.join(packages)} && rm -rf /var/lib/apt/lists/*"
        )
    if requirements.wanted:
        options = _pip_options(tools.index)
        if isinstance(options, Failure):
            return options
        given |= _wheels(tools.index)
        wanted = [" ".join((each.text, *_hashes(each.hashes))) for each in requirements.wanted]
        given[REQUIREMENTS_FILE] = "\n".join(wanted).encode()
        lines += ["COPY requirements.txt wheels* /opt/wheels/", _run(*_PIP, *options)]
    lines += [
        f"COPY runtime {RUNTIME}",
        f"COPY source {SOURCE}",
        *(
            f"ENV {name}={_quoted(value)}"
            for name, value in agent_environment(
                agent_name, definition, (DEPENDENCIES,) if requirements.wanted else ()
            ).items()
        ),
        f"WORKDIR {SOURCE}",
        f"EXPOSE {PORT}",
        f"USER {OWNER}",
        f"ENTRYPOINT {_words(*_START)}",
    ]
    return Recipe(dockerfile=_read("\n".join(lines), DOCKERFILE), path=DOCKERFILE, files=given)


_PIP = (
    *("python3", "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check"),
    *("--no-input", "--root-user-action=ignore", "--target", DEPENDENCIES),
    *("-r", "/opt/wheels/requirements.txt"),
)


_START = ("python3", *PYTHON_FLAGS, "-S", "-c", START.format("_server"), RUNTIME)


def _pip_options(index: PackageIndex) -> tuple[str, ...] | Failure:
    """Return how pip is told about the index. A password would stay in the image's history."""
    if any(mount for mount in index.mounts):
        return ("--no-index", "--find-links", "/opt/wheels")
    urls = list(dict.fromkeys(url for _, url in index_urls(index.environment)))
    if any("@" in urlsplit(url).netloc for url in urls) or any(
        name.endswith("_PASSWORD") for name in index.environment
    ):
        return Failure(
            step="plan",
            detail="The package index wants a password, which would stay in the image.",
            hint=_LOOK_AT_INDEX,
        )
    options = [word for url in urls[:1] for word in ("--index-url", url)]
    options += [word for url in urls[1:] for word in ("--extra-index-url", url)]
    insecure = index.environment.get("UV_INSECURE_HOST", "").split()
    plain = [urlsplit(url).hostname or "" for url in urls if url.startswith("http://")]
    for host in (*insecure, *plain):
        options += ["--trusted-host", host]
    return tuple(options)


def _wheels(index: PackageIndex) -> dict[str, bytes]:
    """Return the folder of wheels that is the index, if it is one."""
    return {
        f"wheels/{path.name}": path.read_bytes()
        for mount in index.mounts
        for path in sorted(Path(mount.source).iterdir())
        if path.is_file()
    }


def _read(text: str, path: str) -> Dockerfile:
    return read_dockerfile(text, path=path)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _hashes(hashes: frozenset[str]) -> list[str]:
    return [f"--hash={each}" for each in sorted(hashes)]


def _run(*argv: str) -> str:
    return f"RUN {_words(*argv)}"


def _words(*argv: str) -> str:
    return msgspec.json.encode(argv).decode()


def _quoted(value: str) -> str:
    """Return a value as ENV takes it: in quotes, where nothing is expanded."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
