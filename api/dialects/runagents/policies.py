"""Policies: GET and POST /api/policies, GET, PUT and DELETE one (contract §7.2)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Meta, Struct

from api.bodies import decode
from api.calls import Call, Outcome
from api.dialects.runagents.bodies import without_nulls
from api.dialects.runagents.documents import DELETED, answer, declare
from api.dialects.runagents.namespaces import open_place_of, place_of
from api.documents import Shown, delete_named, every, find
from api.policies import bindings
from api.tenancy import Place
from domain.catalog import Permission, Policy, Rule
from domain.documents import POLICIES
from domain.errors import Malformed
from domain.policies import check_policy


class RuleBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of `policies`. Unknown fields are refused: `operation` for `operations` allows all."""

    permission: Permission
    resource: str = ""
    operations: list[str] = []
    tags: list[str] = []


class PolicySpec(Struct, frozen=True, kw_only=True):
    """Rules, and who approves what they say needs approval."""

    policies: list[RuleBody]
    approvals: list[dict[str, Any]] = []


class PolicyBody(Struct, frozen=True, kw_only=True):
    """POST /api/policies and PUT /api/policies/{name}."""

    spec: PolicySpec
    name: Annotated[str, Meta(examples=["read-only"])] = ""


_body = msgspec.json.Decoder(PolicyBody)


# Any: as in agents.py.
@get("/policies", opt={"needs": "read"})
async def list_policies(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> list[dict[str, Any]]:
    """List all policies of the workspace, as a bare array."""
    place = await place_of(call, request)
    bound = await bindings(call, place)
    return [_shown(each, place, bound) async for each in every(call, place, POLICIES)]


@post("/policies", status_code=201, opt={"needs": "write"})
async def apply_policy(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[Any]:
    """Make a policy, or change the one of that name: 201 either way."""
    body = decode(_body, without_nulls(await request.body()))
    if not body.name.strip():
        raise Malformed("policy name is required", field="name")
    place = await open_place_of(call, request)
    made = await _applied(call, place, body.name, body)
    return answer(_shown(made.facts, place, await bindings(call, place)), made)


@get("/policies/{name:str}", opt={"needs": "read"})
async def show_policy(
    name: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> dict[str, Any]:
    """Show one policy. `policies.apply` asks here first whether there is one."""
    place = await place_of(call, request)
    found = await find(call, place, POLICIES, name)
    return _shown(found, place, await bindings(call, place))


@put("/policies/{name:str}", opt={"needs": "write"})
async def replace_policy(
    name: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[Any]:
    """Replace a policy that there is."""
    place = await open_place_of(call, request)
    await find(call, place, POLICIES, name)
    body = decode(_body, without_nulls(await request.body()))
    if body.name.strip() not in ("", name):
        raise Malformed(f"name must be {name} as in the path, or be left out", field="name")
    made = await _applied(call, place, name, body)
    return answer(_shown(made.facts, place, await bindings(call, place)), made, 200)


@delete("/policies/{name:str}", status_code=200, opt={"needs": "write"})
async def delete_policy(
    name: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Mapping[str, str]:
    """Delete a policy."""
    await delete_named(call, await place_of(call, request), POLICIES, name)
    return DELETED


async def _applied(call: Call, place: Place, name: str, body: PolicyBody) -> Outcome[Shown[Policy]]:
    rules = [
        Rule(
            permission=each.permission,
            resource=each.resource,
            operations=each.operations,
            tags=each.tags,
        )
        for each in body.spec.policies
    ]
    wanted = Policy(rules=rules, approvals=body.spec.approvals)
    policy = check_policy(wanted, field="spec.policies")
    return await declare(call, place, POLICIES, name, lambda _, __: policy)


def _shown(
    found: Shown[Policy], place: Place, bound: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    agents = bound.get(found.name, ())
    return {
        "name": found.name,
        "namespace": place.slug,
        "spec": {
            "policies": msgspec.to_builtins(found.spec.rules),
            "approvals": found.spec.approvals,
        },
        "status": {"ready": True, "message": ""},
        "used_by": [{"name": agent, "namespace": place.slug} for agent in agents],
        "created_at": found.created_at,
        "updated_at": found.updated_at,
    }
