"""Requests in the other vendor's format."""

from typing import Any

import msgspec
import pytest

from domain.errors import Malformed
from workers.gateway.translations.translation import translate

ELSEWHERE = "http://127.0.0.1/v1/chat/completions"
IMAGE = "data:image/png;base64,iVBORw0="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def to_anthropic(**fields: Any) -> dict[str, Any]:
    body = msgspec.json.encode({"model": "claude-opus-5", "messages": [], **fields})
    return msgspec.json.decode(translate(body, "anthropic", "").body)


def to_openai(url: str = ELSEWHERE, **fields: Any) -> dict[str, Any]:
    body = msgspec.json.encode({"model": "gpt-4o", "messages": [], **fields})
    return msgspec.json.decode(translate(body, "openai", url).body)


def call(id: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}


def test_a_conversation_with_tools_becomes_one_of_anthropics() -> None:
    asked = to_anthropic(
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hello", "name": "ann"},
            {"role": "developer", "content": [{"type": "text", "text": "Be short."}]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [call("a", '{"n": 1}'), call("b", "")],
            },
            {"role": "tool", "tool_call_id": "a", "content": "one"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "So.", "refusal": None},
        ]
    )

    assert asked == {
        "model": "claude-opus-5",
        "max_tokens": 8192,
        "system": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be short."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"n": 1}},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "a",
                        "content": [{"type": "text", "text": "one"}],
                    },
                    {
                        "type": "tool_result",
                        "tool_use_id": "b",
                        "content": [{"type": "text", "text": "two"}],
                    },
                    {"type": "text", "text": "And?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "So."}]},
        ],
    }


def test_images_and_files_are_given_to_anthropic_as_they_are() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVB"},
        },
    ]

    asked = to_anthropic(messages=[{"role": "user", "content": parts}])

    assert asked["messages"][0]["content"] == [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="},
        },
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {
            "type": "document",
            "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVB"},
        },
    ]


def test_what_else_is_asked_for_is_asked_of_anthropic_in_its_words() -> None:
    function = {"name": "f", "description": "does", "parameters": SCHEMA, "strict": True}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}

    asked = to_anthropic(
        max_completion_tokens=5,
        max_tokens=4,
        temperature=1.5,
        top_p=0.5,
        stop="END",
        stream=True,
        user="ann",
        seed=1,
        logit_bias={},
        presence_penalty=0.5,
        tools=[
            {"type": "function", "function": function},
            {"type": "function", "function": {"name": "g"}},
        ],
        response_format=schema,
    )

    assert asked == {
        "model": "claude-opus-5",
        "messages": [],
        "max_tokens": 5,
        "temperature": 1.0,
        "top_p": 0.5,
        "stop_sequences": ["END"],
        "stream": True,
        "metadata": {"user_id": "ann"},
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        "tools": [
            {"name": "f", "description": "does", "input_schema": SCHEMA},
            {"name": "g", "input_schema": {"type": "object", "properties": {}}},
        ],
    }


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"type": "function", "function": {"name": "f"}},
            False,
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_the_choice_of_tools_is_kept_for_anthropic(
    choice: Any, parallel: Any, expected: dict[str, Any]
) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]

    asked = to_anthropic(tools=tools, tool_choice=choice, parallel_tool_calls=parallel)

    assert asked["tool_choice"] == expected


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"n": 2}, "n: "),
        ({"modalities": ["text", "audio"]}, "modalities: "),
        ({"functions": [{"name": "f"}]}, "functions "),
        ({"response_format": {"type": "json_object"}}, "response_format: "),
        ({"tools": [{"type": "custom", "name": "x"}]}, r"\$.tools\[0\]"),
        (
            {"messages": [{"role": "function", "name": "f", "content": ""}]},
            r"\$.messages\[0\].role",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            r"\$.messages\[0\].content\[0\].type",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}
                ]
            },
            "file_data",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [call("a", "{no")]}]},
            r"messages\[0\].tool_calls\[0\].function.arguments",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}],
                    }
                ]
            },
            "data URL",
        ),
    ],
)
def test_what_anthropic_cannot_be_asked_is_refused_by_its_place(
    fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(Malformed, match=says):
        to_anthropic(**fields)


def test_a_conversation_with_tools_becomes_one_of_openais() -> None:
    asked = to_openai(
        max_tokens=9,
        system=[{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": "Hello"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"n": 1}},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "And?"},
                    {"type": "tool_result", "tool_use_id": "a", "content": "one"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "b",
                        "is_error": True,
                        "content": [
                            {"type": "text", "text": "two"},
                            {
                                "type": "image",
                                "source": {
                                    "type": "base64",
                                    "media_type": "image/png",
                                    "data": "iVBORw0=",
                                },
                            },
                        ],
                    },
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "So."}]},
        ],
    )

    assert asked == {
        "model": "gpt-4o",
        "max_tokens": 9,
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hello"},
            {
                "role": "assistant",
                "content": "Looking.",
                "tool_calls": [call("a", '{"n":1}'), call("b", "{}")],
            },
            {"role": "tool", "tool_call_id": "a", "content": "one"},
            {"role": "tool", "tool_call_id": "b", "content": "two"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "And?"},
                    {"type": "image_url", "image_url": {"url": IMAGE}},
                ],
            },
            {"role": "assistant", "content": "So."},
        ],
    }


def test_what_else_is_asked_for_is_asked_of_openai_in_its_words() -> None:
    asked = to_openai(
        max_tokens=5,
        temperature=0.5,
        top_k=3,
        stop_sequences=["END"],
        stream=True,
        thinking={"type": "enabled", "budget_tokens": 1024},
        metadata={"user_id": "ann"},
        tools=[
            {"name": "f", "input_schema": SCHEMA},
            {"name": "g", "type": "custom", "description": "d"},
        ],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    )

    schema = {"name": "answer", "schema": SCHEMA, "strict": True}
    assert asked == {
        "model": "gpt-4o",
        "messages": [],
        "max_tokens": 5,
        "temperature": 0.5,
        "stop": ["END"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "ann",
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": SCHEMA}},
            {"type": "function", "function": {"name": "g", "description": "d", "parameters": {}}},
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }


def test_openai_itself_is_told_the_limit_by_its_new_name() -> None:
    asked = to_openai("https://api.openai.com/v1/chat/completions", max_tokens=5)

    assert asked["max_completion_tokens"] == 5
    assert "max_tokens" not in asked


def test_a_named_tool_is_named_to_openai() -> None:
    asked = to_openai(tools=[{"name": "f"}], tool_choice={"type": "tool", "name": "f"})

    assert asked["tool_choice"] == {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            r"tools\[0\]: web_search",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "server_tool_use"}]}]},
            r"\$.messages\[0\].content\[0\].type",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}],
                    }
                ]
            },
            "'file'",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "document", "source": {"type": "url", "url": "u"}}],
                    }
                ]
            },
            "document",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "f"}]}
                ]
            },
            "blocks",
        ),
    ],
)
def test_what_openai_cannot_be_asked_is_refused_by_its_place(
    fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(Malformed, match=says):
        to_openai(**fields)
