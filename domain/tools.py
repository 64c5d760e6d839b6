"""Tools: what may be declared, and what stays of the tool that had the name before."""

import re
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from domain.addresses import check_address, origin
from domain.catalog import ApiKeyPlace, AuthenticationType, Capability, Scheme, Tool
from domain.errors import Invalid
from domain.urls import path_pattern, tool_address

# What the gateway itself answers. No machine has this address: it is there for policies to name.
ECHO_ADDRESS = "http://echo-tool.argosy.internal"

MAX_DESCRIPTION = 10_000
MAX_CAPABILITIES = 500
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SECRET_PARAMETERS = {"client_secret", "client_assertion", "password", "refresh_token", "code"}

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")  # a header's name (RFC 9110, 5.6.2)

type Names = Callable[[str], str]
"""How the caller's body calls a field of Tool, for refusals."""


class BasicTool(Struct, frozen=True, kw_only=True):
    """A tool as it is declared in passing, without what is special about it.

    What is None, and all that is not here, stays as it was.
    """

    base_url: str
    description: str | None = None
    auth_type: AuthenticationType | None = None
    port: int | None = None
    scheme: Scheme | None = None

    def over(self, current: Tool | None) -> Tool:
        """Return the tool that this makes of the one that has the name, if any."""
        before = current or Tool(base_url=self.base_url, port=0)
        port = before.port if before.base_url == self.base_url else 0
        return replace(
            before,
            base_url=self.base_url,
            description=before.description if self.description is None else self.description,
            auth_type=before.auth_type if self.auth_type is None else self.auth_type,
            port=port if self.port is None else self.port,
            scheme=before.scheme if self.scheme is None else self.scheme,
        )


def declared(
    wanted: Tool, current: Tool | None, names: Names, *, credential: str | None = None
) -> Tool:
    """Return the tool to store: checked, with the credential that is given or already there.

    wanted: its port may be 0, for the usual one; its own credential does not count.
    credential: reference of the one given now, None to keep what there is. Raises Invalid.
    """
    checked = _authenticated(_placed(_described(wanted, names), names), names)
    if checked.auth_type == "None":
        if credential:
            field = names("credential")
            raise Invalid("A tool without authentication takes no credentials.", field=field)
        return replace(checked, api_key=None, oauth2=None, credential="")
    if credential is None and current and current.auth_type == checked.auth_type:
        credential = current.credential
        if credential and _goes_to(current) != _goes_to(checked):
            raise Invalid(
                "The credentials were given for another address; send them again for this one.",
                field=names("credential"),
            )
    return replace(checked, credential=credential or "")


def lacking(tool: Tool, *, has_credential: bool) -> str:
    """Return what the tool still needs before it can be called, as a sentence; empty if nothing."""
    if tool.auth_type == "None":
        return ""
    if tool.auth_type == "OAuth2" and not (tool.oauth2 and tool.oauth2.client_id):
        return "Its OAuth2 client (token URL and client id) is missing."
    return "" if has_credential else "Its credentials are missing."


def check_method(method: str, *, field: str) -> str:
    """Return an HTTP method in capitals, or `*`. A mistyped one would match nothing: refused."""
    if method.upper() not in METHODS and method != "*":
        raise Invalid(f"{method[:20]!r} is not one of {', '.join(METHODS)}.", field=field)
    return method.upper()


def _described(tool: Tool, names: Names) -> Tool:
    if len(tool.description) > MAX_DESCRIPTION:
        field = names("description")
        raise Invalid(f"{field} has at most {MAX_DESCRIPTION} characters.", field=field)
    if len(tool.capabilities) > MAX_CAPABILITIES:
        field = names("capabilities")
        raise Invalid(f"{field} has at most {MAX_CAPABILITIES} items.", field=field)
    seen: set[str] = set()
    capabilities: list[Capability] = []
    for number, each in enumerate(tool.capabilities):
        place = names(f"capabilities[{number}]")
        if not each.name.strip() or each.name in seen:
            raise Invalid(f"{place}.name must be there, and only once.", field=f"{place}.name")
        seen.add(each.name)
        capabilities.append(_capability(each, place))
    return replace(tool, capabilities=capabilities)


def _capability(capability: Capability, place: str) -> Capability:
    method, path = capability.method, capability.path
    if method:
        method = check_method(method, field=f"{place}.method")
    if not path.startswith("/") or "?" in path or "#" in path:
        field = f"{place}.path"
        raise Invalid(f"{field} must begin with / and have no query: /v1/files/*.", field=field)
    path_pattern(path, f"{place}.path")
    return replace(capability, method=method)


def _placed(tool: Tool, names: Names) -> Tool:
    """Return the tool with the scheme and port of its address."""
    check_address(tool.base_url, field=names("base_url"), own=ECHO_ADDRESS)
    if not 0 <= tool.port < 65536:
        raise Invalid(f"{names('port')} must be 1 to 65535.", field=names("port"))
    try:
        address = tool_address(tool)
    except Invalid as refusal:
        raise Invalid(refusal.detail, field=names("base_url")) from None
    scheme: Scheme = "HTTP" if address.scheme == "http" else "HTTPS"
    serves = "echo" if tool.base_url == ECHO_ADDRESS else ""
    return replace(tool, scheme=scheme, port=address.port, serves=serves)


def _authenticated(tool: Tool, names: Names) -> Tool:
    match tool.auth_type:
        case "None":
            return tool
        case "APIKey":
            place = tool.api_key or ApiKeyPlace()
            if not _TOKEN.fullmatch(place.name):
                field = names("api_key.name")
                raise Invalid(f"{field} must be the name of a header or parameter.", field=field)
            if not place.value_prefix.isprintable() or len(place.value_prefix) > 200:
                field = names("api_key.value_prefix")
                raise Invalid(f"{field} must be at most 200 visible characters.", field=field)
            return replace(tool, api_key=place, oauth2=None)
        case "OAuth2":
            if tool.oauth2:
                check_address(tool.oauth2.token_url, field=names("oauth2.token_url"))
                if tool.oauth2.authorization_url:
                    field = names("oauth2.authorization_url")
                    check_address(tool.oauth2.authorization_url, field=field)
                secrets = SECRET_PARAMETERS & {name.lower() for name in tool.oauth2.parameters}
                if secrets:
                    field = names(f"oauth2.parameters.{min(secrets)}")
                    raise Invalid(f"{field} is a secret: send it as a credential.", field=field)
            return replace(tool, api_key=None)


def _goes_to(tool: Tool) -> tuple[object, ...]:
    """Return where the secret is sent, or what it buys: the tool, and who issues its tokens."""
    address = tool_address(tool)
    issuer = origin(tool.oauth2.token_url) if tool.oauth2 else None
    return address.scheme, address.host, address.port, issuer
