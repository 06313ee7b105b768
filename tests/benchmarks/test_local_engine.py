"""The local engine's speed, side by side in one run: with and without reuse of what was read, and its loop against
what transformers and torch offer on a CPU.
"""

import asyncio
import statistics
import time
from collections import defaultdict
from contextlib import aclosing

import pytest
import torch
from transformers import GenerationConfig, StaticCache

from rag.build import Library
from rag.config import load_settings
from rag.generation.decoding import next_tokens
from rag.generation.local import LocalChatModel
from rag.generation.reuse import Prefixes
from rag.models import default_cache, resolve
from rag.types import Sampling
from tests.benchmarks.layouts import Corpus, groups_of_questions, ours

pytestmark = pytest.mark.benchmark

CONVERSATIONS = 2
TURNS = 4
ROUNDS = 3
PROMPT_TOKENS = 700
NEW_TOKENS = 32
LOOP_ROUNDS = 5


def local_model(settings, **changes) -> LocalChatModel:
    folder = resolve(settings.generation.model, default_cache())
    return LocalChatModel(folder, settings.generation.model_copy(update=changes))


def test_conversations_reach_their_first_token_sooner(tmp_path, sample_documents):
    """The conversations run in turn, as those of several people do; greedy text is the same in both arms.

    Two of them fit ``generation.prefix_cache_mib`` as shipped; of more, the one that waits longest is read anew.
    """
    settings = load_settings(tmp_path, environment={})
    arms = {"kept": local_model(settings), "read anew": local_model(settings, prefix_cache_mib=0)}
    library = Library(tmp_path / "home", settings, chat_model=arms["kept"])
    library.ingest([sample_documents])
    corpus = Corpus(library)
    conversations = [ours(corpus, group) for group in groups_of_questions(CONVERSATIONS, TURNS)]

    async def first_token_s(model: LocalChatModel, prompt) -> tuple[float, str, int]:
        started = time.perf_counter()
        first, text = None, ""
        async with aclosing(model.stream(prompt, Sampling(12))) as pieces:
            async for piece in pieces:
                first = first or (time.perf_counter() - started if piece.text else None)
                text += piece.text
                usage = piece.usage
        return first or time.perf_counter() - started, text, usage.cached_tokens

    async def measure():
        times, cached = defaultdict(list), defaultdict(list)
        for number in range(ROUNDS):
            for model in arms.values():
                model._prefixes.forget()
            for turn in range(TURNS):
                for prompts in conversations:
                    texts = set()
                    for name in list(arms)[:: 1 if number % 2 == 0 else -1]:
                        seconds, text, tokens = await first_token_s(arms[name], prompts[turn])
                        times[name, turn].append(seconds)
                        cached[name, turn].append(tokens)
                        texts.add(text)
                    assert len(texts) == 1
        return times, cached

    times, cached = asyncio.run(measure())
    print(f"\n\n{CONVERSATIONS} conversations in turn, time to first token, medians of {ROUNDS} rounds\n")
    print("| turn | prompt tokens | kept, tokens not read again | kept, s | read anew, s | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    ratios = []
    for turn in range(TURNS):
        tokens = statistics.mean(arms["kept"].tokens.count_messages(prompts[turn]) for prompts in conversations)
        kept, anew = (statistics.median(times[name, turn]) for name in arms)
        ratios.append(kept / anew)
        reused = statistics.mean(cached["kept", turn])
        print(f"| {turn + 1} | {tokens:.0f} | {reused:.0f} | {kept:.2f} | {anew:.2f} | {kept / anew:.2f} |")
    assert statistics.mean(ratios[1:]) < 0.7
    asyncio.run(arms["read anew"].aclose())
    asyncio.run(library.aclose())


# Of torch's own compiler, which still makes scripted modules.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
def test_our_loop_against_what_the_libraries_offer(tmp_path, sample_documents):
    """Tokens per second after the prompt; what is compiled is compiled before, and how long that took is told."""
    settings = load_settings(tmp_path, environment={})
    local = local_model(settings)
    model = local._model
    text = "\n".join(path.read_text("utf-8") for path in sorted(sample_documents.rglob("*.md"))[:5])
    prompt = local.tokens.encode(text)[:PROMPT_TOKENS]
    ids = torch.tensor([prompt])

    def plain() -> tuple[list[int], float]:
        read = Prefixes(model.config, 0).begin(prompt, None)
        tokens = next_tokens(model, prompt, Sampling(NEW_TOKENS), lambda: False, read)
        first = next(tokens)
        started = time.perf_counter()
        return [first, *tokens], time.perf_counter() - started

    def generate() -> tuple[list[int], float]:
        """Its prompt's reading, measured by one token alone, is taken off."""
        times = []
        for count in (1, NEW_TOKENS):
            config = GenerationConfig(max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0)
            started = time.perf_counter()
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
            times.append(time.perf_counter() - started)
        return out[0, len(prompt) :].tolist(), times[1] - times[0]

    @torch.inference_mode()
    def static(step) -> tuple[list[int], float]:
        cache = StaticCache(config=model.config, max_cache_len=1024)
        read, tokens, started = ids, [], 0.0
        for number in range(NEW_TOKENS):
            forward = model if number == 0 else step
            logits = forward(input_ids=read, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            tokens.append(int(logits[0, -1].argmax()))
            read = torch.tensor([[tokens[-1]]])
            started = started or time.perf_counter()
        return tokens, time.perf_counter() - started

    compiled = torch.compile(model.forward, dynamic=False)
    began = time.perf_counter()
    static(compiled)
    print(f"\n\ncompiled, with the first answer, in {time.perf_counter() - began:.0f} s")
    loops = {
        "our loop, growing cache": plain,
        "transformers' generate": generate,
        "static cache": lambda: static(model),
        "static cache, torch.compile": lambda: static(compiled),
    }
    rates, answers = defaultdict(list), {}
    for number in range(LOOP_ROUNDS):
        for name in list(loops)[:: 1 if number % 2 == 0 else -1]:
            answers[name], seconds = loops[name]()
            rates[name].append((NEW_TOKENS - 1) / seconds)
    print(f"\nSmolLM2-135M, float32, {PROMPT_TOKENS} tokens of prompt, medians of {LOOP_ROUNDS} rounds\n")
    print("| loop | tokens/s | from | to | same text as ours |\n| --- | --- | --- | --- | --- |")
    for name, values in rates.items():
        same = answers[name] == answers["our loop, growing cache"]
        print(f"| {name} | {statistics.median(values):.1f} | {min(values):.1f} | {max(values):.1f} | {same} |")
    ours_rate = statistics.median(rates["our loop, growing cache"])
    assert ours_rate > 0.9 * statistics.median(rates["transformers' generate"])
    asyncio.run(local.aclose())
