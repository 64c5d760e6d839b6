"""Where packages come from: PyPI, or the index, mirror or folder of wheels that the operator names.

Only what is named here reaches uv, and uv reaches only what is named here. pip's own settings
(`PIP_*`, pip.conf) are not looked at.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import proxy_bypass

import msgspec
from msgspec import Struct

from domain.errors import Invalid
from domain.urls import DEFAULT_PORTS, split_authority
from workers.sandboxes.driver import Mount

SETTING = "ARGOSY_PACKAGE_INDEX"
HOSTS_SETTING = "ARGOSY_INDEX_FILE_HOSTS"
PYPI = "https://pypi.org/simple"
PYPI_FILES = "files.pythonhosted.org"
WHEELS = "/wheels"
CERTIFICATE = "/etc/argosy-certificates.pem"

# uv's own, for operators who have set it up already; index credentials may be among them.
INHERITED = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|INDEX_STRATEGY|INDEX_\w+_(USERNAME|PASSWORD)"
    r"|INSECURE_HOST|EXCLUDE_NEWER|HTTP_TIMEOUT|HTTP_CONNECT_TIMEOUT|HTTP_RETRIES|SYSTEM_CERTS)"
)
_PROXY = re.compile(r"(?i:(https?|all|no)_proxy)")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")

type Place = tuple[str, int]
"""A host, in lower case, and a port."""


class PackageIndex(Struct, frozen=True, kw_only=True):
    """What uv is told about the index. It may hold credentials, so it prints only its arguments.

    key: differs between indexes that may answer differently.
    places: all that builds may connect to: the indexes, and where they keep their files.
    proxies: the operator's own, which these are reached through, by scheme; `no`: those that are
    reached without one.
    """

    key: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    places: frozenset[Place] = frozenset()
    proxies: Mapping[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    files: Mapping[str, str] = {}

    def proxy(self, scheme: str, place: Place) -> str:
        """Return the proxy that a place is reached through; empty for none."""
        host, port = place
        if proxy_bypass(f"{host}:{port}", {"no": self.proxies.get("no", "")}):
            return ""
        return self.proxies.get(scheme, "")

    def __repr__(self) -> str:
        return f"PackageIndex(arguments={self.arguments!r})"


def find_index(
    setting: str, environment: Mapping[str, str], file_hosts: str = PYPI_FILES
) -> PackageIndex:
    """Return the index to use. `setting` (ARGOSY_PACKAGE_INDEX) goes before uv's own variables.

    It is the URL of a PEP 503 index, or the absolute path of a folder of wheels, which is then all
    there is. file_hosts: where indexes keep their files beside their own hosts
    (ARGOSY_INDEX_FILE_HOSTS). Certificates come from SSL_CERT_FILE, else from the system.
    Raises Invalid.
    """
    found = {name: value for name, value in environment.items() if INHERITED.fullmatch(name)}
    arguments: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    if setting.startswith("/"):
        if not Path(setting).is_dir():
            raise Invalid(f"{SETTING}: there is no folder {setting}.", field=SETTING)
        arguments, mounts = ("--no-index", "--find-links", WHEELS), (Mount(setting, WHEELS),)
    elif re.match(r"https?://", setting):
        for name in ("UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"):
            found.pop(name, None)
        found["UV_DEFAULT_INDEX"] = setting
    elif setting:
        raise Invalid(
            f"{SETTING} must be an http(s) URL or the absolute path of a folder.", field=SETTING
        )
    key = hashlib.sha256(msgspec.json.encode([setting, sorted(found.items())])).hexdigest()
    certificates = environment.get("SSL_CERT_FILE", "")
    files: dict[str, str] = {}
    if certificates and Path(certificates).is_file():
        files[CERTIFICATE] = Path(certificates).read_text()
        found["SSL_CERT_FILE"] = CERTIFICATE
    elif Path("/etc/ssl/certs").is_dir():
        found.setdefault("UV_SYSTEM_CERTS", "1")
    return PackageIndex(
        key=key,
        arguments=arguments,
        environment=found,
        places=frozenset() if mounts else frozenset((*_indexes(found), *_hosts(file_hosts))),
        proxies=_proxies(environment),
        mounts=mounts,
        files=files,
    )


def with_credentials(index: PackageIndex, url: str) -> str:
    """Return a file's URL with the credentials of the index on the same host, if it has any."""
    parts = urlsplit(url)
    for name, place in index_urls(index.environment):
        known = urlsplit(place)
        user, at, host = known.netloc.rpartition("@")
        if (known.scheme, host) != (parts.scheme, parts.netloc):
            continue
        if not at and name:
            variable = f"UV_INDEX_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"
            pair = [index.environment.get(f"{variable}_{end}") for end in ("USERNAME", "PASSWORD")]
            user = ":".join(quote(word, safe="") for word in pair if word is not None)
        return urlunsplit(parts._replace(netloc=f"{user}@{host}")) if user else url
    return url


def index_urls(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name, if any, and the URL of each index that uv's variables say."""
    for variable in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"):
        for entry in environment.get(variable, "").split():
            name, equals, url = entry.partition("=")
            yield (name, url) if equals and "/" not in name else ("", entry)


def _indexes(environment: Mapping[str, str]) -> Iterator[Place]:
    """Yield where uv's indexes are. Raises Invalid."""
    urls = [url for _, url in index_urls(environment)]
    if not any(environment.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL")):
        urls.append(PYPI)
    for url in urls:
        scheme, _, rest = url.partition("://")
        if scheme in DEFAULT_PORTS:
            authority = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
            host, port = split_authority(authority, SETTING)
            yield host, port or DEFAULT_PORTS[scheme]


def _hosts(setting: str) -> Iterator[Place]:
    """Yield the hosts of a list, with their ports. Raises Invalid."""
    for entry in filter(None, map(str.strip, setting.split(","))):
        try:
            host, port = split_authority(entry, HOSTS_SETTING)
        except Invalid:
            raise Invalid(
                f"{HOSTS_SETTING} has {entry!r}; it takes hosts such as {PYPI_FILES}, and "
                "host:port for what is not at port 443.",
                field=HOSTS_SETTING,
            ) from None
        yield host, port or DEFAULT_PORTS["https"]


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the proxies by scheme. Names in lower case go before others. Raises Invalid."""
    found: dict[str, str] = {}
    for name in sorted(filter(_PROXY.fullmatch, environment), key=str.islower):
        if environment[name]:
            found[name.lower().removesuffix("_proxy")] = environment[name]
    for_all = found.pop("all", "")
    for scheme in DEFAULT_PORTS:
        url = found.pop(scheme, for_all)
        if url:
            found[scheme] = _checked_proxy(scheme, url if "://" in url else f"http://{url}")
    return found


def _checked_proxy(scheme: str, url: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in DEFAULT_PORTS and parts.hostname and parts.port != 0:
            return url
    raise Invalid(
        f"{scheme}_proxy, or all_proxy: packages are fetched through the proxies of http:// and "
        "https:// URLs only.",
        field=f"{scheme}_proxy",
    )


def masked(line: str) -> str:
    """Return a line without the credentials of URLs in it."""
    return _CREDENTIALS.sub("***", line)
