"""Our batch client against vLLM's own throughput on the same prompts, side by side in one run.

vLLM's own is what the same server gives a bare asyncio client that posts all requests at once and reads whole
answers: no queue, no streaming, no parsing but of one JSON object each. The prefix cache is emptied before each arm.
"""

import asyncio
import statistics
import time
from pathlib import Path

import httpx
import pytest

from rag import prompting
from rag.evaluation.questions import read_questions
from rag.generation.batch import generate_batch
from rag.generation.journal import BatchRequest
from rag.types import Sampling

pytestmark = [pytest.mark.benchmark, pytest.mark.vllm]

QUESTIONS = Path(__file__).parents[2] / "data" / "sample" / "questions.jsonl"
REQUESTS = 32
MAX_TOKENS = 16
ROUNDS = 9
"""Many short ones rather than few long ones: what else runs on the machine changes from minute to minute."""


def requests() -> list[BatchRequest]:
    """Closed-book questions, the rules alone in common."""
    questions = [item for item in read_questions(QUESTIONS) if item.split == "dev" and item.language == "en"]
    return [
        BatchRequest(item.id, prompting.build(item.question, grounded=False), Sampling(MAX_TOKENS))
        for item in questions[:REQUESTS]
    ]


async def ours(model, batch: list[BatchRequest], out: Path) -> int:
    """Tokens generated."""
    results = await generate_batch(model, batch, out, concurrency=REQUESTS)
    assert all(result.ok for result in results)
    return sum(result.usage.completion_tokens for result in results)


async def bare(engine, batch: list[BatchRequest]) -> int:
    """Tokens generated."""
    url = f"{engine.endpoint.base_url}/chat/completions"
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=engine.headers, timeout=600, limits=limits) as client:

        async def ask(request: BatchRequest) -> int:
            messages = [{"role": message.role, "content": message.content} for message in request.messages]
            body = {
                "model": engine.settings.generation.model,
                "messages": messages,
                "max_tokens": request.sampling.max_tokens,
                "temperature": 0,
            }
            response = await client.post(url, json=body)
            response.raise_for_status()
            return response.json()["usage"]["completion_tokens"]

        return sum(await asyncio.gather(*(ask(request) for request in batch)))


def test_batches_keep_within_five_percent_of_vllms_own_throughput(engine, tmp_path):
    batch = requests()
    assert len(batch) == REQUESTS
    model = engine.chat_model()

    async def tokens_per_s(arm: str, round_: int) -> float:
        engine.empty_prefix_cache()
        started = time.perf_counter()
        if arm == "bare":
            tokens = await bare(engine, batch)
        else:
            tokens = await ours(model, batch, tmp_path / f"{round_}.jsonl")
        return tokens / (time.perf_counter() - started)

    async def measure() -> dict[str, list[float]]:
        await bare(engine, batch[:8])
        await generate_batch(model, batch[:8])
        rates: dict[str, list[float]] = {"bare": [], "ours": []}
        for round_ in range(ROUNDS):
            for arm in ("bare", "ours") if round_ % 2 == 0 else ("ours", "bare"):
                rates[arm].append(await tokens_per_s(arm, round_))
            print(f"\nround {round_ + 1}: bare {rates['bare'][-1]:.1f} tokens/s, ours {rates['ours'][-1]:.1f} tokens/s")
        await model.aclose()
        return rates

    rates = asyncio.run(measure())
    ratios = [a / b for a, b in zip(rates["ours"], rates["bare"], strict=True)]
    print(
        f"{REQUESTS} requests of {MAX_TOKENS} tokens at most, medians of {ROUNDS} rounds: "
        f"bare {statistics.median(rates['bare']):.1f} tokens/s, ours {statistics.median(rates['ours']):.1f} tokens/s, "
        f"ratio {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})"
    )
    assert statistics.median(ratios) >= 0.95
