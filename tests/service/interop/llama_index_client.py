"""What LlamaIndex' OpenAI-like client gets of a service, as JSON. Runs in the environment that `make interop` makes.

Usage: .venv-interop/bin/python tests/service/interop/llama_index_client.py URL QUESTION
"""

import asyncio
import json
import sys

from llama_index.core.llms import ChatMessage, TextBlock
from llama_index.llms.openai_like import OpenAILike


def ask(url: str, question: str) -> dict[str, object]:
    llm = OpenAILike(
        model="rag",
        api_base=f"{url}/v1",
        api_key="none",
        is_chat_model=True,
        is_function_calling_model=False,
        context_window=8192,
        max_retries=0,
        timeout=60,
        additional_kwargs={"user": "me"},
    )
    messages = [
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", blocks=[TextBlock(text="How much are the bolts"), TextBlock(text="tightened?")]),
        ChatMessage(role="assistant", content="To 42 Nm."),
        ChatMessage(role="user", content=question),
    ]

    async def awaited() -> tuple[str, str]:
        # In one event loop: its client keeps connections that belong to it.
        answer = (await llm.achat(messages)).message.content
        return answer, "".join([piece.delta async for piece in await llm.astream_chat(messages)])

    whole = llm.chat(messages)
    answer, pieces = asyncio.run(awaited())
    return {
        "whole": whole.message.content,
        "usage": dict(whole.additional_kwargs),
        "complete": llm.complete(question).text,
        "streamed": "".join(piece.delta for piece in llm.stream_chat(messages)),
        "completed_in_pieces": "".join(piece.delta for piece in llm.stream_complete(question)),
        "awaited": answer,
        "awaited_in_pieces": pieces,
    }


if __name__ == "__main__":
    print(json.dumps(ask(*sys.argv[1:])))  # noqa: T201 - the result of a script
