"""What the order of the passages is worth to a prefix cache when single questions share some of them.

The cache is an ideal one: blocks of sixteen tokens, as a GPU's vLLM has them, and room for everything. No engine runs.
"""

import asyncio
from itertools import zip_longest

import pytest

from rag.build import Library
from rag.config import load_settings
from rag.fakes import ScriptedModel
from rag.generation.tokens import LocalTokenCounter, load_tokenizer
from rag.models import default_cache, resolve
from tests.benchmarks.layouts import Corpus, Prompt, groups_of_questions, ours

pytestmark = pytest.mark.benchmark

BLOCK = 16
BUDGETS = (600, 1500, 4000)
TOP_K = 12
ORDERS = ("document", "score", "best-document")


def hit_rate(threads: list[list[Prompt]], tokens: LocalTokenCounter) -> float:
    """The threads' prompts are asked in turn, as several people would."""
    cached: set[tuple[int, ...]] = set()
    hits = total = 0
    for prompts in zip_longest(*threads):
        for ids in (tokens.encode(tokens.render(prompt)) for prompt in prompts if prompt is not None):
            blocks = [tuple(ids[:end]) for end in range(BLOCK, len(ids), BLOCK)]
            hits += BLOCK * next((index for index, block in enumerate(blocks) if block not in cached), len(blocks))
            total += len(ids)
            cached.update(blocks)
    return hits / total


def test_hit_rate_by_order(tmp_path, sample_documents):
    settings = load_settings(tmp_path, environment={"DOMAINQA_RETRIEVAL__TOP_K": str(TOP_K)})
    folder = resolve(settings.generation.model, default_cache())
    model = ScriptedModel()
    model.tokens = tokens = LocalTokenCounter(load_tokenizer(folder, settings.generation.model), "")
    library = Library(tmp_path, settings, chat_model=model)
    library.ingest([sample_documents])
    corpus = Corpus(library)
    groups = groups_of_questions(None, None, ("dev", "train"))
    print(f"\n\n{sum(map(len, groups))} questions on {len(groups)} topics, the {TOP_K} best hits, as many as fit\n")
    print(f"| order | {' | '.join(f'{budget} tokens' for budget in BUDGETS)} |\n| --- |{' --- |' * len(BUDGETS)}")
    rates = {}
    for order in ORDERS:
        for budget in BUDGETS:
            corpus.budget_tokens = budget
            threads = [[prompt for item in group for prompt in ours(corpus, [item], order)] for group in groups]
            rates[order, budget] = hit_rate(threads, tokens)
        print(f"| {order} | {' | '.join(f'{rates[order, budget]:.2f}' for budget in BUDGETS)} |")
    for budget in BUDGETS:
        assert rates["best-document", budget] >= max(rates["document", budget], rates["score", budget]) - 0.01
    asyncio.run(library.aclose())
