"""What our prompt layout is worth to vLLM's prefix cache, against a naive one, side by side in one run.

Both arms ask the same questions of the sample corpus with the same retrieved hits, the same budget for each turn's
evidence and the same answers in the history, taken from the question file, so that no arm's model can change what the
other is asked. The naive layout puts the evidence first, into the system message, best first, and packs it anew for
each turn; the history follows it as plain messages. It is measured twice: with this turn's evidence alone, and with
all that the conversation has shown so far, which is what ours shows. The cache is emptied before each arm.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import pytest

from rag.build import Library
from rag.config import PackingSettings
from rag.types import Sampling, Usage
from tests.benchmarks.layouts import Corpus, Prompt, groups_of_questions, naive, ours

pytestmark = [pytest.mark.benchmark, pytest.mark.vllm]

GROUPS = 5
TOPICS = 4
QUESTIONS_EACH = 6
TURNS = 4
MAX_TOKENS = 16
ROUNDS = 3

Threads = list[list[Prompt]]
"""Prompts that are asked one after another, and several such rows at once."""


@dataclass(frozen=True, slots=True)
class Reply:
    usage: Usage
    first_token_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """One arm, asked once."""

    replies: list[Reply]
    seconds: float
    engine_hits: float

    @property
    def prompt_tokens(self) -> int:
        return sum(reply.usage.prompt_tokens for reply in self.replies)

    @property
    def cached_tokens(self) -> int:
        return sum(reply.usage.cached_tokens or 0 for reply in self.replies)

    @property
    def hit_rate(self) -> float:
        return self.cached_tokens / self.prompt_tokens

    @property
    def first_token_s(self) -> float:
        return statistics.median(reply.first_token_s for reply in self.replies)

    @property
    def requests_per_minute(self) -> float:
        return 60 * len(self.replies) / self.seconds

    @property
    def generated_per_s(self) -> float:
        return sum(reply.usage.completion_tokens for reply in self.replies) / self.seconds


# --- asking -------------------------------------------------------------------------------------


async def ask(model, prompt: Prompt) -> Reply:
    started = time.perf_counter()
    first_token_s = None
    async with aclosing(model.stream(prompt, Sampling(MAX_TOKENS))) as pieces:
        async for piece in pieces:
            if first_token_s is None and piece.text:
                first_token_s = time.perf_counter() - started
            if piece.usage is not None:
                return Reply(piece.usage, first_token_s or time.perf_counter() - started)
    raise AssertionError("no usage")


async def ask_all(engine, model, threads: Threads) -> Round:
    engine.empty_prefix_cache()
    before = engine.metric("vllm:prefix_cache_hits_total")

    async def one(thread: list[Prompt]) -> list[Reply]:
        return [await ask(model, prompt) for prompt in thread]

    started = time.perf_counter()
    replies = await asyncio.gather(*(one(thread) for thread in threads))
    seconds = time.perf_counter() - started
    hits = engine.metric("vllm:prefix_cache_hits_total") - before
    return Round([reply for row in replies for reply in row], seconds, hits)


def compare(engine, arms: dict[str, Threads], title: str) -> dict[str, list[Round]]:
    """Rounds of all arms, in turn, printed as a table of medians."""

    async def measure() -> dict[str, list[Round]]:
        model = engine.chat_model()
        rounds: dict[str, list[Round]] = {name: [] for name in arms}
        for number in range(ROUNDS):
            for name in list(arms)[:: 1 if number % 2 == 0 else -1]:
                rounds[name].append(await ask_all(engine, model, arms[name]))
        await model.aclose()
        return rounds

    rounds = asyncio.run(measure())
    print(f"\n\n{title}: {sum(map(len, next(iter(arms.values()))))} requests, medians of {ROUNDS} rounds\n")
    print("| layout | prompt tokens | from the cache | hit rate | first token, median s | requests/min | tokens/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, measured in rounds.items():
        print(
            f"| {name} | {measured[0].prompt_tokens} | {median(measured, 'cached_tokens'):.0f} "
            f"| {median(measured, 'hit_rate'):.2f} | {median(measured, 'first_token_s'):.2f} "
            f"| {median(measured, 'requests_per_minute'):.1f} | {median(measured, 'generated_per_s'):.1f} |"
        )
        for each in measured:
            assert each.engine_hits == each.cached_tokens, "usage and vLLM's own metric tell the same"
    return rounds


def median(rounds: Sequence[Round], name: str) -> float:
    return statistics.median(getattr(each, name) for each in rounds)


@pytest.fixture(scope="module")
def corpus(engine, sample_documents, tmp_path_factory) -> Corpus:
    library = Library(tmp_path_factory.mktemp("home"), engine.settings, chat_model=engine.chat_model())
    library.ingest([sample_documents])
    yield Corpus(library)
    asyncio.run(library.aclose())


def test_conversations(engine, corpus):
    groups = groups_of_questions(GROUPS, TURNS)
    assert len(groups) == GROUPS
    arms = {
        "ours": [ours(corpus, group) for group in groups],
        "naive, this turn's evidence": [naive(corpus, group, cumulative=False) for group in groups],
        "naive, all evidence so far": [naive(corpus, group, cumulative=True) for group in groups],
    }
    rounds = compare(engine, arms, f"{GROUPS} conversations of {TURNS} turns at once")
    mine, this_turns, all_so_far = rounds.values()
    assert median(mine, "hit_rate") > median(this_turns, "hit_rate") + 0.2
    # Only where as much is shown do times compare: half the evidence, read anew each turn, costs about as much as ours.
    assert median(mine, "hit_rate") > median(all_so_far, "hit_rate") + 0.1
    assert median(mine, "first_token_s") < median(all_so_far, "first_token_s")
    assert median(mine, "requests_per_minute") > median(all_so_far, "requests_per_minute")


def test_questions_that_share_evidence(engine, corpus):
    """Each in a conversation of its own; the questions of a group find some of the same passages.

    The budget is the one of a larger model, since of two passages there is little to share.
    """
    groups = groups_of_questions(TOPICS, QUESTIONS_EACH)
    corpus.budget_tokens = PackingSettings().max_evidence_tokens
    layouts = {
        "ours, order document": partial(ours, order="document"),
        "ours, order best-document": partial(ours, order="best-document"),
        "naive, order score": partial(naive, cumulative=False),
    }
    arms = {
        name: [[prompt for question in group for prompt in layout(corpus, [question])] for group in groups]
        for name, layout in layouts.items()
    }
    rounds = compare(engine, arms, f"{QUESTIONS_EACH} single questions on each of {TOPICS} topics")
    by_place, by_best, best_first = rounds.values()
    assert median(by_best, "hit_rate") >= median(best_first, "hit_rate")
    assert median(by_best, "hit_rate") > median(by_place, "hit_rate")
