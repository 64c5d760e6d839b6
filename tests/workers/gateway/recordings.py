"""What the vendors answer, in the shapes of their published references."""

from typing import Any

ANTHROPIC_USAGE = {
    "input_tokens": 472,
    "cache_creation_input_tokens": 8,
    "cache_read_input_tokens": 20,
    "output_tokens": 2,
}
ANTHROPIC_ANSWER: dict[str, Any] = {
    "id": "msg_014p7gG3wDgGV9EUtLvnow3U",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5",
    "content": [
        {"type": "thinking", "thinking": "Two cities.", "signature": "EqQB"},
        {"type": "text", "text": "Okay, let's check:"},
        {
            "type": "tool_use",
            "id": "toolu_01A",
            "name": "get_weather",
            "input": {"location": "Zürich", "unit": "celsius"},
        },
        {"type": "tool_use", "id": "toolu_01B", "name": "get_time", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {**ANTHROPIC_USAGE, "output_tokens": 89, "service_tier": "standard"},
}


def _block(index: int, block: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": text}


def _json(fragment: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": fragment}


ANTHROPIC_STREAM: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": ANTHROPIC_ANSWER
        | {"content": [], "stop_reason": None, "usage": ANTHROPIC_USAGE},
    },
    *_block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Two cities."},
        {"type": "signature_delta", "signature": "EqQB"},
    ),
    {"type": "ping"},
    *_block(1, {"type": "text", "text": ""}, _text("Okay"), _text(", let's check:")),
    *_block(
        2,
        {"type": "tool_use", "id": "toolu_01A", "name": "get_weather", "input": {}},
        _json(""),
        _json('{"location":'),
        _json(' "Zürich", "un'),
        _json('it": "celsius"}'),
    ),
    *_block(3, {"type": "tool_use", "id": "toolu_01B", "name": "get_time", "input": {}}, _json("")),
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 89},
    },
    {"type": "message_stop"},
]

OPENAI_USAGE = {
    "prompt_tokens": 500,
    "completion_tokens": 89,
    "total_tokens": 589,
    "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
OPENAI_ANSWER: dict[str, Any] = {
    "id": "chatcmpl-abc123",
    "object": "chat.completion",
    "created": 1699896916,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Okay, let's check:",
                "refusal": None,
                "annotations": [],
                "tool_calls": [
                    {
                        "id": "call_A",
                        "type": "function",
                        "function": {
                            "name": "get_weather",
                            "arguments": '{"location": "Zürich", "unit": "celsius"}',
                        },
                    },
                    {
                        "id": "call_B",
                        "type": "function",
                        "function": {"name": "get_time", "arguments": "{}"},
                    },
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": OPENAI_USAGE,
    "service_tier": "default",
    "system_fingerprint": "fp_1",
}


def openai_chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """A chunk of a streamed answer."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {
        "id": "chatcmpl-abc123",
        "object": "chat.completion.chunk",
        "model": "gpt-4o-2024-08-06",
    }
    return {**head, "created": 1694268190, "choices": [choice], "usage": None}


def _call(index: int, arguments: str, **given: Any) -> dict[str, Any]:
    """A fragment of a tool call; the first has its id and name."""
    name = {"name": given.pop("name")} if "name" in given else {}
    return openai_chunk(
        {"tool_calls": [{"index": index, **given, "function": {**name, "arguments": arguments}}]}
    )


# The second call begins before the first is complete, which the format allows.
OPENAI_STREAM: list[Any] = [
    openai_chunk({"role": "assistant", "content": "", "refusal": None}),
    openai_chunk({"content": "Okay"}),
    openai_chunk({"content": ", let's check:"}),
    _call(0, "", id="call_A", type="function", name="get_weather"),
    _call(0, '{"location":'),
    _call(1, "", id="call_B", type="function", name="get_time"),
    _call(0, ' "Zürich", "unit": "celsius"}'),
    _call(1, "{}"),
    openai_chunk({}, "tool_calls"),
    {**openai_chunk({}), "choices": [], "usage": OPENAI_USAGE},
    "[DONE]",
]
