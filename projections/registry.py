"""Every projection there is."""

from projections.agents import AGENTS
from projections.builds import BUILDS
from projections.deployments import DEPLOYMENTS
from projections.documents import DOCUMENTS
from projections.drafts import DRAFTS
from projections.keys import KEYS
from projections.projection import Projection
from projections.runs import RUNS
from projections.workspaces import WORKSPACES

PROJECTIONS: tuple[Projection, ...] = (
    WORKSPACES,
    KEYS,
    DOCUMENTS,
    AGENTS,
    BUILDS,
    DEPLOYMENTS,
    DRAFTS,
    RUNS,
)
