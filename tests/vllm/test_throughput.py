"""Batches through a real vLLM: order, resumption, and the prefix that the requests share read once."""

import asyncio
from collections import Counter

import pytest

from rag.generation.batch import generate_batch
from rag.generation.journal import BatchRequest
from rag.types import Message, Sampling

pytestmark = pytest.mark.vllm

BLOCK = 128
"""Tokens that vLLM's CPU build keeps together: a prefix is shared in whole blocks."""
METALS = ["bronze", "copper", "iron", "steel", "nickel", "brass", "zinc", "tin", "lead", "silver", "titanium"]
HALLS = " ".join(
    f"Hall {number} shows pumps of {metal}, is opened at {number} o'clock and closed at {number + 8} o'clock."
    for number, metal in enumerate(METALS, 1)
)
RULES = (
    f"You are the clerk of a museum of gear pumps. {HALLS} Answer in one short sentence, and name the hall's number."
)


def requests(count: int) -> list[BatchRequest]:
    return [
        BatchRequest(
            f"n{number}", (Message("system", RULES), Message("user", f"Say the number {number}.")), Sampling(8)
        )
        for number in range(count)
    ]


def test_a_batch_keeps_its_order_resumes_and_shares_its_prefix(engine, tmp_path):
    model = engine.chat_model()
    out, batch = tmp_path / "out.jsonl", requests(16)
    told = []

    def counters() -> Counter[str]:
        """The engine's own."""
        names = {"hits": "prefix_cache_hits", "queries": "prefix_cache_queries", "answers": "request_success"}
        return Counter({name: int(engine.metric(f"vllm:{sample}_total")) for name, sample in names.items()})

    async def run() -> None:
        alone = await generate_batch(model, batch[:1])
        shared = (alone[0].usage.prompt_tokens - 20) // BLOCK * BLOCK
        assert shared >= 2 * BLOCK, "the rules are too short to be shared"
        before = counters()
        first = await generate_batch(model, batch[:10], out, concurrency=8)
        assert [result.id for result in first] == [f"n{number}" for number in range(10)]
        assert all(result.ok and result.tries == 1 and 1 <= result.usage.completion_tokens <= 8 for result in first)
        assert [result.usage.cached_tokens for result in first] == [shared] * 10
        assert counters() - before == Counter(
            hits=10 * shared, queries=sum(result.usage.prompt_tokens for result in first), answers=10
        )

        with out.open("ab") as file:
            file.write(b'{"key": "torn')
        before = counters()
        whole = await generate_batch(model, batch, out, concurrency=8, progress=told.append)
        assert (counters() - before)["answers"] == 6
        assert whole[:10] == first
        assert [result.id for result in whole] == [request.id for request in batch]
        assert (told[-1].resumed, told[-1].answered, told[-1].failed, told[-1].remaining) == (10, 6, 0, 0)

    async def run_and_close() -> None:
        try:
            await run()
        finally:
            await model.aclose()

    asyncio.run(run_and_close())
