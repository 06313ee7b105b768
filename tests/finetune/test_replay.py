import asyncio
from collections import Counter
from pathlib import Path

import pytest

from finetune.replay import ReplayPrompt, read_prompts, replay
from rag.errors import DoesNotFitError, UsageError
from rag.fakes import ScriptedModel
from rag.resemblance import near_duplicates
from rag.types import Sampling

SHIPPED = Path(__file__).parents[2] / "data" / "general" / "prompts.jsonl"
PROMPTS = [ReplayPrompt(id=f"p{number}", family="lists", prompt=f"List {number} things.") for number in range(4)]
GREEDY = Sampling(max_tokens=40)


def test_answers_become_general_examples_in_the_prompts_order(tmp_path: Path) -> None:
    model = ScriptedModel(lambda messages: f" Answer to {messages[-1].content} ")
    replayed = asyncio.run(replay(model, PROMPTS, GREEDY, tmp_path / "answers.jsonl", concurrency=2))
    assert [each.id for each in replayed.examples] == [f"replay-p{number}" for number in range(4)]
    assert {(each.family, each.source) for each in replayed.examples} == {("general", "replay")}
    assert [each.messages[-1].content for each in replayed.examples] == [f"Answer to {each.prompt}" for each in PROMPTS]
    assert [message.role for message in replayed.examples[0].messages] == ["system", "user", "assistant"]
    again = ScriptedModel("never asked")
    assert asyncio.run(replay(again, PROMPTS, GREEDY, tmp_path / "answers.jsonl")) == replayed
    assert again.asked == []


def test_answers_that_teach_no_good_are_left_out_and_counted(tmp_path: Path) -> None:
    replies = {0: " ", 1: "round and round " * 20, 2: DoesNotFitError("too long"), 3: "Good."}

    def answer(messages: object) -> str:
        reply = replies[int(str(messages).split("List ")[1][0])]
        if isinstance(reply, Exception):
            raise reply
        return reply

    replayed = asyncio.run(replay(ScriptedModel(answer), PROMPTS, GREEDY, tmp_path / "a.jsonl", concurrency=1))
    assert [each.id for each in replayed.examples] == ["replay-p3"]
    assert replayed.rejected == {"empty": 1, "runs in circles": 1, "the request failed": 1}


def test_the_shipped_prompts_are_many_and_of_many_kinds() -> None:
    prompts = read_prompts(SHIPPED)
    families = Counter(each.family for each in prompts)
    assert len(prompts) >= 300
    assert len(families) >= 12
    assert max(families.values()) < 0.1 * len(prompts)
    texts = {each.id: each.prompt for each in prompts}
    assert near_duplicates(list(texts), texts.__getitem__, 0.7) == []


def test_faults_of_a_file_of_prompts_are_named(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    line = PROMPTS[0].model_dump_json() + "\n"
    for text, told in ((line * 2, "line 2: 'p0' stands twice"), ("{}\n", "line 1"), ("\n", "holds no prompts")):
        path.write_text(text, "utf-8")
        with pytest.raises(UsageError, match=told):
            read_prompts(path)
