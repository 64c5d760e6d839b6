"""Where a tool call goes: one spelling for every URL, so that what is judged is what is called.

An agent chooses the path. It is read twice: `path` is how it is sent on, and `lenient` how the most
obliging server might read it (decoded again and again, `\\` as `/`, no `;parameters`, no case, no
doubled or last slash). What is allowed must be allowed in both readings; see `policy.py`.
Does not protect against a server that lets a body or a query choose another path or method.
"""

import re
from functools import lru_cache
from typing import Literal
from unicodedata import normalize
from urllib.parse import unquote

from msgspec import Struct

from domain.catalog import Tool
from domain.errors import Invalid

MAX_PATH_CHARACTERS = 4096
MAX_ENCODINGS = 8  # how often a path may be encoded over another encoding

DEFAULT_PORTS = {"http": 80, "https": 443}

_PIECES = re.compile(r"%[0-9A-Fa-f]{2}|.", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/]")  # RFC 3986, 3.3: what a path may hold
_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")


class Address(Struct, frozen=True, kw_only=True):
    """Where one call goes. `base_path`: the tool's own path; `path`: what the agent added."""

    scheme: str
    host: str
    port: int
    base_path: str
    path: str = "/"

    @property
    def authority(self) -> str:
        """Host and port, without the scheme's own port."""
        default = self.port == DEFAULT_PORTS[self.scheme]
        return self.host if default else f"{self.host}:{self.port}"

    @property
    def whole_path(self) -> str:
        """The path that the tool is asked for. `/` adds nothing to a tool that has a path."""
        if self.path == "/":
            return self.base_path or "/"
        return self.base_path.rstrip("/") + self.path

    @property
    def url(self) -> str:
        """The URL without a query."""
        return f"{self.scheme}://{self.authority}{self.whole_path}"


def tool_address(tool: Tool, path: str = "/") -> Address:
    """Return where a call of a tool goes. Raises Invalid for `base_url` and for `path`.

    What `base_url` says counts; `scheme` and `port` fill in what it leaves out. RunAgents' clients
    send 443 whatever the URL is, so that port is not taken for `http://`.
    """
    scheme, separator, rest = tool.base_url.strip().partition("://")
    if not separator:
        scheme, rest = tool.scheme, scheme
    scheme = scheme.lower()
    authority, slash, own = rest.partition("/")
    if scheme not in DEFAULT_PORTS or not authority:
        raise Invalid("A base URL is http:// or https:// and a host.", field="base_url")
    if "@" in authority:
        raise Invalid("A base URL holds no credential: give it as the tool's.", field="base_url")
    if "?" in rest or "#" in rest:
        raise Invalid("A base URL has no query and no fragment.", field="base_url")
    host, port = split_authority(authority, "base_url")
    if not port and (scheme, tool.port) != ("http", DEFAULT_PORTS["https"]):
        port = tool.port
    return Address(
        scheme=scheme,
        host=host,
        port=port or DEFAULT_PORTS[scheme],
        base_path=canonical_path(slash + own, "base_url") if slash else "",
        path=canonical_path(path),
    )


def split_authority(authority: str, field: str) -> tuple[str, int]:
    """Return host and port, 0 where there is none. Hosts are compared in lower case and ASCII."""
    host, colon, digits = authority.rpartition(":")
    if not colon or digits.endswith("]"):  # an IPv6 address without a port
        host, digits = authority, ""
    host = host.lower().removesuffix(".")
    try:
        host = host if host.isascii() else host.encode("idna").decode()
        port = int(digits) if digits else 0
    except ValueError:
        raise Invalid(f"{authority!r} is no host and port.", field=field) from None
    if not _HOST.fullmatch(host) or not 0 <= port < 65536 or (digits and not digits.isdecimal()):
        raise Invalid(f"{authority!r} is no host and port.", field=field)
    return host, port


def canonical_path(path: str, field: str = "path") -> str:
    """Return the one spelling of a path, as it is sent on: encoded once, without `.` and `..`.

    `path` is percent-encoded, as it came. Encoded slashes stay encoded. Raises Invalid for one that
    hides dot segments, control characters or bytes that are not UTF-8.
    """
    if len(path) > MAX_PATH_CHARACTERS:
        raise Invalid(f"A path has at most {MAX_PATH_CHARACTERS} characters.", field=field)
    spelled = _PIECES.sub(lambda found: _spell(found[0]), path.removeprefix("/"))
    kept: list[str] = []
    segments = spelled.split("/")
    for segment in segments:
        match segment:
            case ".":
                pass
            case "..":
                del kept[-1:]
            case _:
                kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")  # what ends in a dot segment is a directory
    canonical = "/" + "/".join(kept)
    _check_for_disguise(canonical, field)
    return canonical


def _spell(piece: str) -> str:
    if len(piece) == 3:
        character = chr(int(piece[1:], 16))
        return character if _UNRESERVED.fullmatch(character) else piece.upper()
    if _PLAIN.fullmatch(piece):
        return piece
    return "".join(f"%{byte:02X}" for byte in piece.encode("utf-8", "surrogateescape"))


def _check_for_disguise(path: str, field: str) -> None:
    plain = _decoded(path, field)
    if _CONTROL.search(plain):
        raise Invalid("A path holds no control characters, encoded ones neither.", field=field)
    for segment in plain.split("/"):
        name = segment.partition(";")[0]
        if name and not name.strip(" ."):
            raise Invalid("A path does not hide `.` or `..` behind an encoding.", field=field)


def _decoded(path: str, field: str = "path") -> str:
    """Return the path as whoever decodes everything reads it."""
    for _ in range(MAX_ENCODINGS):
        try:
            plain = normalize("NFKC", unquote(path, errors="strict")).replace("\\", "/")
        except UnicodeDecodeError:
            raise Invalid("A path is UTF-8, percent-encoded.", field=field) from None
        if plain == path:
            return plain
        path = plain
    raise Invalid("A path is not encoded over and over.", field=field)


@lru_cache(maxsize=256)
def lenient_path(path: str) -> str:
    """Return a canonical path as the most obliging server reads it, always ending in a slash."""
    names = (_lenient_name(segment) for segment in _decoded(path).split("/"))
    inner = "/".join(name for name in names if name)
    return f"/{inner}/" if inner else "/"


def _lenient_name(segment: str) -> str:
    return segment.partition(";")[0].rstrip(" .").casefold()


class PathPattern(Struct, frozen=True):
    """A path that may end in `*`, to be compared in either reading."""

    exact: str
    lenient: str
    open: bool

    def matches(self, path: str, *, lenient: bool) -> bool:
        """Say whether a canonical path is meant."""
        path, pattern = (lenient_path(path), self.lenient) if lenient else (path, self.exact)
        return path.startswith(pattern) if self.open else path == pattern


@lru_cache(maxsize=1024)
def path_pattern(pattern: str, field: str = "path") -> PathPattern:
    """Read a path that may end in `*`. Raises Invalid."""
    start, is_open = pattern.removesuffix("*"), pattern.endswith("*")
    if "*" in start:
        raise Invalid("`*` stands at the end of a path only.", field=field)
    if not is_open:
        exact = canonical_path(start, field)
        return PathPattern(exact, lenient_path(exact), open=False)
    # What is last is part of a name, never a dot segment: a letter behind it says so.
    exact = canonical_path(start + "x", field)[:-1]
    lenient = lenient_path(exact)
    return PathPattern(exact, lenient if exact.endswith("/") else lenient[:-1], open=True)


class UrlPattern(Struct, frozen=True, kw_only=True):
    """The URLs that a rule is about. An empty scheme or host, and port 0, stand for any.

    open_host: the pattern ends in its host; only the lenient reading takes that for a prefix.
    """

    scheme: Literal["", "http", "https"] = ""
    host: str = ""
    port: int = 0
    open_host: bool = False
    path: PathPattern = PathPattern("/", "/", open=True)

    def matches(self, address: Address, *, lenient: bool) -> bool:
        """Say whether an address is meant."""
        if self.scheme not in {"", address.scheme}:
            return False
        if lenient and self.open_host:
            return address.host.startswith(self.host)
        port = self.port or DEFAULT_PORTS[address.scheme]
        if self.host and (self.host, port) != (address.host, address.port):
            return False
        return self.path.matches(address.whole_path, lenient=lenient)


@lru_cache(maxsize=1024)
def url_pattern(resource: str) -> UrlPattern:
    """Read a rule's `resource`: a URL which may end in `*`. Raises Invalid.

    `*` alone is every URL and `https://*` every HTTPS one. `https://a.example*` allows every path
    of a.example and nothing of a.example.org, but denies both.
    """
    scheme, separator, rest = resource.strip().partition("://")
    if not separator:
        scheme, rest = "", scheme
    scheme = scheme.lower()
    authority, slash, path = rest.partition("/")
    if "?" in rest or "#" in rest or "@" in authority:
        raise Invalid("A resource has no query, fragment or user.", field="resource")
    is_open = not slash and authority.endswith("*")
    named = authority.removesuffix("*") if is_open else authority
    if (is_open and named.endswith(".")) or not (is_open or named):
        raise Invalid("A resource is a URL, such as https://api.example/v1/*.", field="resource")
    host, port = split_authority(named, "resource") if named else ("", 0)
    pattern = path_pattern("/*" if is_open else slash + path, "resource")
    match scheme:
        case "" | "http" | "https":
            return UrlPattern(scheme=scheme, host=host, port=port, open_host=is_open, path=pattern)
        case _:
            raise Invalid("A resource is http:// or https://.", field="resource")
