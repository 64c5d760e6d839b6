"""POST /api/deploy/preview: what a deploy would do, in the words that its clients show."""

from typing import Any, Literal

from litestar import Request, post
from litestar.di import NamedDependency
from msgspec import Struct

from api.calls import Call
from api.dialects.runagents.bodies import deploy_body
from api.dialects.runagents.deploy import asked_for
from api.dialects.runagents.namespaces import open_place_of
from api.previews import foresee
from domain.execution import BuildProfile, Mode
from domain.handling import Unit

type UserState = Literal["instant", "preparing_runtime", "compatibility_setup"]
type Confidence = Literal["high", "medium", "low"]


class Shown(Struct, frozen=True):
    """How a mode is shown."""

    user_state: UserState
    state_label: str
    eta_range: str
    confidence: Confidence


# The times are rough: what has to be fetched depends on the requirements. What is built is only
# certain when its requirements are resolved.
SHOWN: dict[Mode, Shown] = {
    "INSTANT_RUNTIME": Shown("instant", "Ready at once", "a few seconds", "high"),
    "FAST_OVERLAY": Shown("preparing_runtime", "Installing packages", "up to minutes", "medium"),
    "FULL_BUILD": Shown("compatibility_setup", "Needs an environment of its own", "never", "high"),
    "IMAGE": Shown("compatibility_setup", "Fetching the image", "up to minutes", "medium"),
}


class Details(Struct, frozen=True, kw_only=True):
    """The same as in a deploy's answer. execution_kind: `source`, `image` or `configuration`.

    support_level: always the same: what is not supported is refused, as by the deploy.
    """

    execution_mode: Mode
    build_required: bool
    build_profile: BuildProfile
    decision_reason: str
    execution_kind: str
    support_level: Literal["supported"] = "supported"


class PreviewAnswer(Struct, frozen=True, kw_only=True):
    """The documented fields."""

    user_state: UserState
    state_label: str
    eta_range: str
    confidence: Confidence
    short_reason: str
    advanced_details: Details


@post("/deploy/preview", status_code=200, opt={"needs": "write"})
async def preview_agent(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> PreviewAnswer:
    """Say how a deploy would run, and why. Takes a deploy's body; changes nothing."""
    body = deploy_body(await request.body())
    place = await open_place_of(call, request)
    _, wanted = await asked_for(body, place, call, None)
    unit = Unit(call.store)
    asked = await wanted(unit)
    decision = (await foresee(call, unit, asked)).deployed.decision
    shown = SHOWN[decision.mode]
    return PreviewAnswer(
        user_state=shown.user_state,
        state_label=shown.state_label,
        eta_range=shown.eta_range,
        confidence=shown.confidence,
        short_reason=decision.reason,
        advanced_details=Details(
            execution_mode=decision.mode,
            build_required=decision.build_required,
            build_profile=decision.build_profile,
            decision_reason=decision.reason,
            execution_kind=str(asked.definition.__struct_config__.tag),
        ),
    )
