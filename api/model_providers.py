"""Model providers: where the models are that agents use. Declare, list, show, delete."""

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from api.calls import Call
from api.documents import Shown, as_named, declare, declaring, delete_named, find, list_page
from api.paging import Cursor, Limit, Listed
from domain import catalog
from domain.catalog import ModelVendor
from domain.documents import MODEL_PROVIDERS
from domain.model_providers import declared_provider, lacking_key


class NewModelProvider(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model provider, whole: what is left out has its default, but for the key, which is kept.

    endpoint: base URL; empty for the vendor's own. credential: the key; empty to have none. It is
    never shown again.
    """

    vendor: ModelVendor
    models: list[str]
    endpoint: str = ""
    credential: str | None = None
    requests_per_minute: int = 0

    def __repr__(self) -> str:
        return f"NewModelProvider(vendor={self.vendor!r})"


class ModelProvider(Struct, frozen=True, kw_only=True):
    """A model provider. requests_per_minute: 0 for no limit. lacks: what it still needs."""

    id: str
    name: str
    workspace_id: str
    revision: int
    vendor: ModelVendor
    models: list[str]
    endpoint: str
    has_credential: bool
    requests_per_minute: int
    lacks: str
    created_at: str
    updated_at: str


class ModelProviders(Controller):
    """`/v1/workspaces/{workspace}/model-providers`."""

    path = "/workspaces/{workspace:str}/model-providers"
    tags = ["Model providers"]

    @get(operation_id="ListModelProviders", opt={"needs": "read"})
    async def index(
        self,
        workspace: FromPath[str],
        call: NamedDependency[Call],
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Listed[ModelProvider]:
        """List a workspace's model providers."""
        place = await call.workspace(workspace)
        return await list_page(call, place, MODEL_PROVIDERS, view, cursor=cursor, limit=limit)

    @get("/{name:str}", operation_id="ShowModelProvider", opt={"needs": "read"})
    async def show(
        self, workspace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
    ) -> ModelProvider:
        """Show a model provider."""
        return view(await find(call, await call.workspace(workspace), MODEL_PROVIDERS, name))

    @put(
        "/{name:str}",
        operation_id="ApplyModelProvider",
        opt={"needs": "write"},
        responses=declaring(ModelProvider),
    )
    async def update(
        self,
        workspace: FromPath[str],
        name: FromPath[str],
        data: JSONBody[NewModelProvider],
        call: NamedDependency[Call],
    ) -> Response[ModelProvider]:
        """Declare a model provider: 201 if the name was free, else 200."""
        wanted = catalog.ModelProvider(
            vendor=data.vendor,
            models=data.models,
            endpoint=data.endpoint,
            requests_per_minute=data.requests_per_minute,
        )

        def spec_of(
            current: catalog.ModelProvider | None, credential: str | None
        ) -> catalog.ModelProvider:
            return declared_provider(wanted, current, as_named, credential=credential)

        place = await call.open_workspace(workspace)
        return await declare(
            call, place, MODEL_PROVIDERS, name, spec_of, view=view, secret=data.credential
        )

    @delete("/{name:str}", operation_id="DeleteModelProvider", opt={"needs": "write"})
    async def delete(
        self, workspace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
    ) -> None:
        """Delete a model provider and its key."""
        await delete_named(call, await call.workspace(workspace), MODEL_PROVIDERS, name)


def view(found: Shown[catalog.ModelProvider]) -> ModelProvider:
    """Return a model provider as clients see it."""
    provider = found.spec
    return ModelProvider(
        id=found.id,
        name=found.name,
        workspace_id=found.workspace_id,
        revision=found.revision,
        vendor=provider.vendor,
        models=provider.models,
        endpoint=provider.endpoint,
        has_credential=found.has_credential,
        requests_per_minute=provider.requests_per_minute,
        lacks=lacking_key(provider, has_credential=found.has_credential),
        created_at=found.created_at,
        updated_at=found.updated_at,
    )
