"""Which provider answers for a model, and how it is called."""

from typing import Any

import pytest

from domain.catalog import ModelProvider
from domain.deployments import ModelConfig, Settings
from domain.errors import NotFound, Unavailable
from workers.gateway.providers import Chosen, address, choose, named_provider

GPT = "gpt-4o-mini"


def openai(**given: Any) -> ModelProvider:
    fields: dict[str, Any] = {"vendor": "openai", "models": [GPT], "credential": "key"}
    return ModelProvider(**(fields | given))


def chosen(
    model: str, providers: dict[str, ModelProvider], named: str = "", *configs: ModelConfig
) -> tuple[str, str]:
    found = choose(providers, model, named, Settings(llm_configs=list(configs)))
    return found.name, found.model


def test_the_first_by_name_answers_where_several_could() -> None:
    assert chosen(GPT, {"a": openai(models=["x"]), "c": openai(), "b": openai()}) == ("b", GPT)


def test_the_playground_answers_only_where_nobody_else_does() -> None:
    providers = {"a-playground": openai(serves="playground"), "z": openai()}

    assert chosen(GPT, providers) == ("z", GPT)
    assert chosen(GPT, {"a-playground": providers["a-playground"]}) == ("a-playground", GPT)


def test_what_the_deployment_names_comes_first() -> None:
    providers = {
        "a": openai(),
        "b": openai(vendor="ollama"),
        "c": openai(),
        "playground": openai(serves="playground"),
    }

    assert chosen(GPT, providers, "", ModelConfig(model=GPT, model_provider="c")) == ("c", GPT)
    assert chosen(GPT, providers, "", ModelConfig(model=GPT, provider="ollama")) == ("b", GPT)
    assert chosen(GPT, providers, "", ModelConfig(model="other", model_provider="c")) == ("a", GPT)
    wish = ModelConfig(model=GPT, model_provider="playground")
    assert chosen(GPT, providers, "", wish) == ("playground", GPT)


def test_a_path_names_the_provider() -> None:
    providers = {"a": openai(), "b": openai()}

    assert chosen(GPT, providers, "b") == ("b", GPT)
    assert named_provider("/v1/p/b/chat/completions") == "b"
    assert named_provider("/v1/p/b") == "b"
    assert named_provider("/v1/chat/completions") == ""


def test_a_model_may_be_prefixed_with_a_provider_or_a_vendor() -> None:
    providers = {"a": openai(vendor="ollama"), "b": openai(), "openai": openai(models=["x"])}

    assert chosen(f"b/{GPT}", providers) == ("b", GPT)
    assert chosen(f"openai/{GPT}", providers) == ("b", GPT)
    assert chosen("openai/x", providers) == ("openai", "x")


def test_a_model_whose_own_name_has_a_slash_is_no_prefixed_one() -> None:
    providers = {"a": openai(), "router": openai(models=["a/gpt-4o-mini"])}

    assert chosen("a/gpt-4o-mini", providers) == ("router", "a/gpt-4o-mini")


@pytest.mark.parametrize(
    ("model", "named"), [("gpt-9", ""), ("a/gpt-9", ""), (GPT, "nobody"), ("gpt-9", "a")]
)
def test_a_model_that_nobody_has_is_named(model: str, named: str) -> None:
    with pytest.raises(NotFound, match=f'no provider found for model "{model}"'):
        chosen(model, {"a": openai()}, named)


@pytest.mark.parametrize(
    ("provider", "url"),
    [
        (openai(), "https://api.openai.com/v1/chat/completions"),
        (openai(vendor="anthropic"), "https://api.anthropic.com/v1/messages"),
        (
            openai(vendor="ollama", endpoint="http://ollama:11434/v1/"),
            "http://ollama:11434/v1/chat/completions",
        ),
        (
            openai(
                vendor="bedrock",
                endpoint="https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1",
            ),
            "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1/chat/completions",
        ),
        (
            openai(vendor="bedrock", endpoint="https://bedrock-mantle.eu-west-1.api.aws/v1"),
            "https://bedrock-mantle.eu-west-1.api.aws/v1/chat/completions",
        ),
    ],
)
def test_each_vendor_is_called_where_it_answers(provider: ModelProvider, url: str) -> None:
    assert address(Chosen("a", provider, GPT)) == url


@pytest.mark.parametrize(
    ("provider", "says"),
    [
        (openai(vendor="ollama"), "has no endpoint"),
        (
            openai(vendor="bedrock", endpoint="https://bedrock-runtime.eu-west-1.amazonaws.com/v1"),
            "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1",
        ),
    ],
)
def test_what_cannot_be_called_is_refused_with_what_can(provider: ModelProvider, says: str) -> None:
    with pytest.raises(Unavailable, match=says):
        address(Chosen("a", provider, GPT))
