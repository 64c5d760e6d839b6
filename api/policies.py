"""Policies: what agents that are bound to them may call. Declare, list, show, delete."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from api.calls import Call
from api.documents import Shown, declare, declaring, delete_named, find, list_page, recast
from api.paging import Cursor, Limit, Listed, caught_up
from api.tenancy import Place
from domain import catalog
from domain.documents import POLICIES
from domain.policies import check_policy
from projections.deployments import list_bindings


class Rule(
    catalog.Rule, frozen=True, kw_only=True, omit_defaults=False, forbid_unknown_fields=True
):
    """What is said of some calls. resource: a URL, which may end in `*`. operations: HTTP methods,
    none for all. tags: risk tags, any of which chooses.
    """


class NewPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy, whole. approvals: who approves what a rule says needs approval."""

    rules: list[Rule]
    approvals: list[dict[str, Any]] = []


class Policy(Struct, frozen=True, kw_only=True):
    """A policy. used_by: the agents whose newest revision is bound to it."""

    id: str
    name: str
    workspace_id: str
    revision: int
    rules: list[Rule]
    approvals: list[dict[str, Any]]
    used_by: list[str]
    created_at: str
    updated_at: str


class Policies(Controller):
    """`/v1/workspaces/{workspace}/policies`."""

    path = "/workspaces/{workspace:str}/policies"
    tags = ["Policies"]

    @get(operation_id="ListPolicies", opt={"needs": "read"})
    async def index(
        self,
        workspace: FromPath[str],
        call: NamedDependency[Call],
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Listed[Policy]:
        """List a workspace's policies."""
        place = await call.workspace(workspace)
        view = _view(await bindings(call, place))
        return await list_page(call, place, POLICIES, view, cursor=cursor, limit=limit)

    @get("/{name:str}", operation_id="ShowPolicy", opt={"needs": "read"})
    async def show(
        self, workspace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
    ) -> Policy:
        """Show a policy."""
        place = await call.workspace(workspace)
        found = await find(call, place, POLICIES, name)
        return _view(await bindings(call, place))(found)

    @put(
        "/{name:str}",
        operation_id="ApplyPolicy",
        opt={"needs": "write"},
        responses=declaring(Policy),
    )
    async def update(
        self,
        workspace: FromPath[str],
        name: FromPath[str],
        data: JSONBody[NewPolicy],
        call: NamedDependency[Call],
    ) -> Response[Policy]:
        """Declare a policy: 201 if the name was free, else 200. It holds from the next call on."""
        place = await call.open_workspace(workspace)
        rules = [recast(rule, catalog.Rule) for rule in data.rules]
        policy = check_policy(catalog.Policy(rules=rules, approvals=data.approvals), field="rules")
        view = _view(await list_bindings(call.shared.reads, place.id))
        return await declare(call, place, POLICIES, name, lambda _, __: policy, view=view)

    @delete("/{name:str}", operation_id="DeletePolicy", opt={"needs": "write"})
    async def delete(
        self, workspace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
    ) -> None:
        """Delete a policy. To agents that are bound to it, it then says nothing."""
        await delete_named(call, await call.workspace(workspace), POLICIES, name)


async def bindings(call: Call, place: Place) -> Mapping[str, Sequence[str]]:
    """Return the agents that are bound to each policy, by its name."""
    await caught_up(call, "deployments")
    return await list_bindings(call.shared.reads, place.id)


def _view(bound: Mapping[str, Sequence[str]]) -> Callable[[Shown[catalog.Policy]], Policy]:
    def view(found: Shown[catalog.Policy]) -> Policy:
        return Policy(
            id=found.id,
            name=found.name,
            workspace_id=found.workspace_id,
            revision=found.revision,
            rules=[recast(rule, Rule) for rule in found.spec.rules],
            approvals=found.spec.approvals,
            used_by=list(bound.get(found.name, ())),
            created_at=found.created_at,
            updated_at=found.updated_at,
        )

    return view
