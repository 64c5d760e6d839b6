"""Where packages come from: PyPI, or the index, mirror or folder of wheels that the operator names.

Only what is named here reaches uv. pip's own settings (`PIP_*`, pip.conf) are not looked at.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
from msgspec import Struct

from domain.errors import Invalid
from workers.sandboxes.driver import Mount

SETTING = "ARGOSY_PACKAGE_INDEX"
WHEELS = "/wheels"
CERTIFICATE = "/etc/argosy-certificates.pem"

# uv's own, for operators who have set it up already; index credentials may be among them.
INHERITED = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|INDEX_STRATEGY|INDEX_\w+_(USERNAME|PASSWORD)"
    r"|INSECURE_HOST|EXCLUDE_NEWER|HTTP_TIMEOUT|HTTP_CONNECT_TIMEOUT|HTTP_RETRIES|SYSTEM_CERTS)"
    r"|(?i:(https?|all|no)_proxy)"
)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class PackageIndex(Struct, frozen=True, kw_only=True):
    """What uv is told about the index. It may hold credentials, so it prints only its arguments.

    key: differs between indexes that may answer differently.
    """

    key: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    files: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"PackageIndex(arguments={self.arguments!r})"


def find_index(setting: str, environment: Mapping[str, str]) -> PackageIndex:
    """Return the index to use. `setting` (ARGOSY_PACKAGE_INDEX) goes before uv's own variables.

    It is the URL of a PEP 503 index, or the absolute path of a folder of wheels, which is then all
    there is. Certificates come from SSL_CERT_FILE, else from the system. Raises Invalid.
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
    return PackageIndex(key=key, arguments=arguments, environment=found, mounts=mounts, files=files)


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


def masked(line: str) -> str:
    """Return a line without the credentials of URLs in it."""
    return _CREDENTIALS.sub("***", line)
