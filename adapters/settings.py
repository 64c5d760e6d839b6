"""What an operator can set, from environment variables; one struct, read once per process."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from domain.errors import Invalid
from domain.execution import Installation


class Concealed:
    """A text that no `repr`, log line or encoder shows."""

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return it."""
        return self._text

    def __repr__(self) -> str:
        return "Concealed(…)" if self._text else "Concealed()"


class Settings(Struct, frozen=True, kw_only=True):
    """Every field is the variable `ARGOSY_<FIELD>` in capitals.

    data: directory for everything that is kept on this machine's disk.
    database: the log. `sqlite:///<file>` or `postgresql://…`; by default SQLite below `data`.
    read_database: the read models; another SQLite file by default, or the log's PostgreSQL.
    redis: URL of the Redis-compatible server; `unix://<socket>` works too.
    blobs: the blob store: a directory, by default below `data`, or `s3://bucket/prefix`; shared by
    all machines when there are several.
    s3_endpoint: URL of the server that speaks S3, if it is not Amazon's.
    s3_region: the bucket's region.
    s3_credentials_file: a file with an access key and its secret, a line each; by default what the
    machine has for Amazon's own programs (`AWS_ACCESS_KEY_ID`…, or a role).
    host, port: where the API listens.
    public_url: how clients reach the API, for links; by default made of host and port.
    request_rate: requests a second that one API key may make of one API process in the long run, or
    one address without a valid key; 0 for no limit.
    request_burst: requests that it may make at once.
    lease_seconds: how long a worker may be silent before its work is taken over.
    sweep_seconds: how often the reaper looks.
    keep_answers_days: how long a command that is sent again with its `Idempotency-Key` gets the
    answer it had the first time; 0 for ever. Later its key is new.
    run_slots: runs that one run host holds at once.
    build_slots: builds that one build worker does at once.
    drain_seconds: how long work under way may go on after a process was told to stop: runs, builds
    and requests. What is left then is handed back, or cut off.
    unready_seconds: before that, how long the API goes on serving while `/readyz` answers 503, so
    that load balancers send clients elsewhere.
    warm_sandboxes: sandboxes that one run host keeps open for runs to come, about 10 MB each; 0 for
    none. They are of the kinds that were asked for last.
    limit_scope: `sandbox` (a server: refuse where limits cannot be enforced for a whole sandbox) or
    `process` (a person's machine: an ordinary user without cgroups).
    sandbox_driver: what opens sandboxes: `bubblewrap`, or `container` for containers of `engine`,
    which must be on the worker's machine; root must start the worker.
    sandbox_uids: uids for sandboxes where a worker is started by root, such as `200000-265535`; by
    default a range that is taken to be free.
    layer_cache_mb: what layers of agents may take on this machine's disk, in MiB; 0 for no limit.
    Those in use or used within the hour stay all the same; of the others the longest unused go.
    blob_limit_mb: what the blob store may hold, in MiB; 0 for no limit. What is new beyond that is
    refused: deploys with 507, builds and what runs leave with the same reason.
    cgroups: back end of the limits: `auto`, `v2`, `hybrid` or `none`.
    pythons: further interpreters for agents: absolute paths, with commas between them. By default
    `/usr/bin/python3.N` and the one that Argosy runs on. The distribution's own is there always.
    package_index: where builds take packages from: the URL of an index, or an absolute folder of
    wheels; by default what uv's own variables (`UV_DEFAULT_INDEX`…) say, else PyPI.
    index_file_hosts: where package indexes keep their files beside their own hosts: hosts, or
    `host:port`, with commas between them. Builds reach these and the indexes, and nothing else.
    master_key: opens the vault; API and run hosts need it. 32 bytes as 64 hex digits or base64. No
    child process inherits it, but `/proc` shows it to whoever runs the server, so prefer a file.
    master_key_file: a file with the master key in it, instead.
    outbound_allow: where models and tools may be beside the public internet: hosts, `host:port` and
    networks, such as `ollama:11434,10.1.0.0/16`.
    insecure_registries: registries that images are fetched from without TLS, as references name
    them, such as `registry.internal:5000`. Where they are not on the public internet,
    `outbound_allow` must name them, too.
    registry: where images of agents are pushed to when they are built, such as
    `registry.example.com/argosy`; by default Argosy serves them itself. The rules of
    `insecure_registries` and `outbound_allow` hold for it, too.
    registry_login_file: a file with the user name and the password for it, a line each.
    engine: the socket of a container engine's API (Docker, Podman), such as
    `unix:///run/docker.sock`: it builds what needs an environment of its own. Whoever reaches that
    socket is as good as root on its machine. Empty for none: such sources are refused.
    engine_network: what the programs of such a build reach: the name of a network of the engine's,
    which should lead to the package index and nowhere else; `none` for nothing.
    engine_image: what an environment that has no Dockerfile is built upon; `{python}` in it is
    Python's version.
    metrics_port: where a process other than the API serves `/metrics`, each on a port of its own;
    0 for not at all. The API serves it where it listens, to keys.
    metrics_host: the address for that. It takes no key: keep it from strangers.
    log_format: `json` for programs, `text` for people.
    log_level: what is logged: this and everything worse.
    """

    data: Path = Path(".argosy")
    database: str = ""
    read_database: str = ""
    redis: str = "redis://127.0.0.1:6379/0"
    blobs: str = ""
    s3_endpoint: str = ""
    s3_region: str = "us-east-1"
    s3_credentials_file: Path = Path()
    host: str = "127.0.0.1"
    port: int = 8700
    public_url: str = ""
    request_rate: Annotated[float, Meta(ge=0)] = 1000.0
    request_burst: Annotated[int, Meta(ge=1)] = 5000
    lease_seconds: float = 10.0
    sweep_seconds: float = 1.0
    keep_answers_days: Annotated[float, Meta(ge=0)] = 7.0
    run_slots: int = 64
    build_slots: Annotated[int, Meta(ge=1, le=64)] = 4
    drain_seconds: Annotated[float, Meta(ge=0)] = 30.0
    unready_seconds: Annotated[float, Meta(ge=0)] = 3.0
    warm_sandboxes: Annotated[int, Meta(ge=0, le=1000)] = 4
    limit_scope: Literal["sandbox", "process"] = "sandbox"
    sandbox_driver: Literal["bubblewrap", "container"] = "bubblewrap"
    sandbox_uids: str = ""
    layer_cache_mb: Annotated[int, Meta(ge=0)] = 20_480
    blob_limit_mb: Annotated[int, Meta(ge=0)] = 0
    cgroups: Literal["auto", "v2", "hybrid", "none"] = "auto"
    pythons: str = ""
    package_index: str = ""
    index_file_hosts: str = "files.pythonhosted.org"
    master_key: Concealed = Concealed()
    master_key_file: Path = Path()
    outbound_allow: str = ""
    insecure_registries: str = ""
    registry: str = ""
    registry_login_file: Path = Path()
    engine: str = ""
    engine_network: str = "none"
    engine_image: str = "docker.io/library/python:{python}-slim"
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    metrics_host: str = "127.0.0.1"
    log_format: Literal["json", "text"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __repr__(self) -> str:
        """Show where things are kept, never a URL: those hold passwords."""
        return f"Settings(data={str(self.data)!r}, host={self.host!r}, port={self.port})"

    @property
    def log_url(self) -> str:
        """The log's database."""
        return self.database or f"sqlite:///{self.data.absolute() / 'log.db'}"

    @property
    def read_url(self) -> str:
        """The read models' database."""
        if self.read_database:
            return self.read_database
        if self.database.startswith("postgresql"):
            return self.database
        return f"sqlite:///{self.data.absolute() / 'read.db'}"

    @property
    def blob_directory(self) -> Path:
        """Where blobs are kept, unless that is S3."""
        return Path(self.blobs) if self.blobs else self.data.absolute() / "blobs"

    @property
    def blobs_in_s3(self) -> bool:
        """Whether blobs are kept by a server that speaks S3."""
        return self.blobs.startswith("s3://")

    @property
    def url(self) -> str:
        """How clients reach the API."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def installation(self) -> Installation:
        """What can be built besides sources over the bases."""
        return Installation(engine=bool(self.engine), engine_network=self.engine_network != "none")

    @property
    def own_registry(self) -> str:
        """Host and port that images are pulled from Argosy at. Empty where the API is below a path:
        container engines ask at the root alone.
        """
        place = self.url.rstrip("/").partition("://")[2]
        return "" if "/" in place else place


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings. Raises Invalid naming the variable that is wrong."""
    source = os.environ if environment is None else environment
    given = {
        name: source[f"ARGOSY_{name.upper()}"]
        for name in Settings.__struct_fields__
        if f"ARGOSY_{name.upper()}" in source
    }
    if environment is None:
        os.environ.pop("ARGOSY_MASTER_KEY", None)
    try:
        settings = msgspec.convert(given, Settings, strict=False, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        # It says such as: Expected `int` >= 1 - at `$.build_slots`.
        wanted, _, place = str(error).partition(" - at `$.")
        variable = f"ARGOSY_{place.rstrip('`').upper()}"
        raise Invalid(f"{variable}: {wanted}.", field=variable) from None
    if settings.engine and not settings.engine.startswith("unix:///"):
        raise Invalid(
            "ARGOSY_ENGINE: Expected the socket of a container engine's API, such as "
            "unix:///run/docker.sock or unix:///run/podman/podman.sock.",
            field="ARGOSY_ENGINE",
        )
    return settings


def _from_text(type_: type, value: object) -> object:
    if type_ in (Path, Concealed) and isinstance(value, str):
        return type_(value)
    raise NotImplementedError
