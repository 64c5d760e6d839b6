"""One stream: its whole history, and what it folds to at any version."""

from typing import Annotated, Any

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from api.calls import Call
from api.folding import is_id, missing
from api.following import MAX_NUMBER, After, EventLimit
from api.recorded_views import RecordedEvent, shown
from api.visibility import Visible
from domain.agents import AGENT
from domain.builds import BUILD
from domain.catalog import API_KEY, MODEL_PROVIDER, POLICY, TOOL
from domain.decider import Decider
from domain.deployments import DEPLOYMENT
from domain.drafts import DRAFT
from domain.errors import NotFound
from domain.ids import split_stream
from domain.runs import RUN
from domain.workspaces import WORKSPACE

# Any: commands, states and events differ from decider to decider; they are only folded here.
DECIDERS: dict[str, Decider[Any, Any, Any]] = {
    each.category: each
    for each in (
        WORKSPACE,
        API_KEY,
        TOOL,
        POLICY,
        MODEL_PROVIDER,
        AGENT,
        BUILD,
        DEPLOYMENT,
        DRAFT,
        RUN,
    )
}

# Of a number that may be left out, Litestar documents no bounds.
At = Annotated[
    int | None,
    QueryParameter(ge=0, le=MAX_NUMBER, schema_extra={"minimum": 0, "maximum": MAX_NUMBER}),
]


class StreamPage(Struct, frozen=True, kw_only=True):
    """Events of one stream by version, entries too. next_after: where to go on, or null."""

    items: list[RecordedEvent]
    next_after: int | None


class StreamState(Struct, frozen=True, kw_only=True):
    """A stream as it stood at `version`; folding_version: its last folding event up to there.

    state: `kind` names the state, the other fields are the state's own.
    """

    stream: str
    version: int
    folding_version: int
    state: dict[str, Any]


class Streams(Controller):
    """`/v1/streams/{stream}`, such as `run-<id>`."""

    path = "/streams/{stream:str}"
    tags = ["Log"]

    @get("/events", operation_id="ReadStream", opt={"needs": "audit"})
    async def index(
        self,
        stream: FromPath[str],
        call: NamedDependency[Call],
        after: After = 0,
        limit: EventLimit = 200,
    ) -> StreamPage:
        """Page a stream's events."""
        await _decider(call, stream)
        page = await call.store.read(stream, after=after, limit=limit)
        return StreamPage(
            items=[shown(recorded) for recorded in page],
            next_after=page[-1].version if len(page) == limit else None,
        )

    @get(operation_id="ReplayStream", opt={"needs": "audit"})
    async def show(
        self, stream: FromPath[str], call: NamedDependency[Call], at: At = None
    ) -> StreamState:
        """Fold a stream, up to a version."""
        decider = await _decider(call, stream)
        head = await call.store.load(stream)
        version = head.version if at is None else min(at, head.version)
        events = [recorded for recorded in head.events if recorded.version <= version]
        state = decider.fold(recorded.event for recorded in events)
        fields = msgspec.to_builtins(state, str_keys=True)
        return StreamState(
            stream=stream,
            version=version,
            folding_version=events[-1].version if events else 0,
            state={"kind": type(state).__name__.lower(), **fields},
        )


async def _decider(call: Call, stream: str) -> Decider[Any, Any, Any]:
    """Return what folds a stream that the caller may read. Raises NotFound."""
    category, id = split_stream(stream)
    decider = DECIDERS.get(category)
    if decider is None or not is_id(id):
        raise NotFound(
            f"There is no stream {stream[:100]!r}. A stream is named by what it is of and its id: "
            "run-ID, build-ID, agent-ID, deployment-ID."
        )
    first = await call.store.read(stream, limit=1)
    if not first or not await Visible(call).sees(first[0]):
        raise missing("stream", stream)
    return decider
