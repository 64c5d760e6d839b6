"""Model providers: what may be declared, and what stays of the one that had the name before."""

import pytest
from msgspec.structs import replace

from domain.catalog import ModelProvider
from domain.errors import Invalid
from domain.model_providers import PLAYGROUND_ADDRESS, declared_provider, lacking_key

OPENAI = ModelProvider(vendor="openai", models=["gpt-4o-mini"])
KEYED = replace(OPENAI, credential="ref-1")


def named(field: str) -> str:
    return field


def stored(
    wanted: ModelProvider, current: ModelProvider | None = None, credential: str | None = None
) -> ModelProvider:
    return declared_provider(wanted, current, named, credential=credential)


def test_a_key_is_kept_unless_another_comes() -> None:
    assert stored(replace(OPENAI, credential="not this")).credential == ""
    assert stored(OPENAI, None, "ref-9").credential == "ref-9"
    assert stored(OPENAI, KEYED).credential == "ref-1"
    assert stored(OPENAI, KEYED, "ref-9").credential == "ref-9"
    assert stored(OPENAI, KEYED, "").credential == ""


@pytest.mark.parametrize(
    "moved",
    [
        replace(OPENAI, endpoint="https://elsewhere.example.com/v1"),
        replace(OPENAI, vendor="anthropic"),
    ],
)
def test_it_does_not_go_to_another_address(moved: ModelProvider) -> None:
    with pytest.raises(Invalid) as caught:
        stored(moved, KEYED)

    assert caught.value.members == {"field": "credential"}
    assert stored(moved, KEYED, "ref-9").credential == "ref-9"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("", ""),
        ("https://api.openai.com", "https://api.openai.com/v1"),
        ("https://api.openai.com/", "https://api.openai.com/v1"),
        ("http://models.example:8000/api/", "http://models.example:8000/api"),
    ],
)
def test_an_endpoint_without_a_path_gets_the_usual_one(sent: str, kept: str) -> None:
    assert stored(replace(OPENAI, endpoint=sent)).endpoint == kept


def test_only_the_built_in_address_is_served_here() -> None:
    assert stored(replace(OPENAI, endpoint=PLAYGROUND_ADDRESS)).serves == "playground"
    assert stored(replace(OPENAI, serves="playground")).serves == ""


def test_what_it_lacks_is_said_where_that_can_be_known() -> None:
    def lacks(provider: ModelProvider, *, has_credential: bool = False) -> str:
        return lacking_key(provider, has_credential=has_credential)

    assert lacks(OPENAI)
    assert lacks(replace(OPENAI, endpoint="https://api.openai.com/v1"))
    assert lacks(OPENAI, has_credential=True) == ""
    assert lacks(replace(OPENAI, endpoint="http://models.example/v1")) == ""
    assert lacks(replace(OPENAI, endpoint=PLAYGROUND_ADDRESS)) == ""


BAD: list[tuple[ModelProvider, str]] = [
    (replace(OPENAI, models=[]), "models"),
    (replace(OPENAI, models=["a", "a"]), "models"),
    (replace(OPENAI, models=[str(number) for number in range(1001)]), "models"),
    (replace(OPENAI, models=["a", " "]), "models[1]"),
    (replace(OPENAI, models=["a\n"]), "models[0]"),
    (replace(OPENAI, models=["x" * 201]), "models[0]"),
    (replace(OPENAI, requests_per_minute=-1), "requests_per_minute"),
    (replace(OPENAI, endpoint="api.openai.com"), "endpoint"),
    (replace(OPENAI, endpoint="https://:key@api.openai.com"), "endpoint"),
    (replace(OPENAI, endpoint="http://playground-llm.argosy.internal"), "endpoint"),
    (replace(OPENAI, vendor="ollama"), "endpoint"),
    (replace(OPENAI, vendor="bedrock"), "endpoint"),
]


@pytest.mark.parametrize(("provider", "field"), BAD, ids=lambda each: str(each)[:60])
def test_what_makes_no_sense_is_refused_by_its_field(provider: ModelProvider, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        stored(provider)

    assert caught.value.members["field"] == field
