"""What is learnt of an example is told token by token, for templates that end a turn in three ways."""

import pytest
from transformers import PreTrainedTokenizerFast

from finetune.encoding import MASKED, Encoder
from finetune.examples import TrainingExample
from rag.errors import DoesNotFitError, UsageError
from rag.prompting import build
from rag.types import Evidence
from tests.finetune.trainables import CHATML, make_tokenizer

HEADERS = (
    "{{ bos_token }}{% for message in messages %}<|header|>{{ message['role'] }}<|end_header|>\n\n"
    "{{ message['content'] | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|header|>assistant<|end_header|>\n\n{% endif %}"
)
INSTRUCTIONS = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set rules = messages[0]['content'] %}"
    "{% set turns = messages[1:] %}{% else %}{% set rules = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{% if message['role'] == 'user' %}"
    "[INST] {% if loop.first and rules %}{{ rules }}\n\n{% endif %}{{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)


def chatml() -> PreTrainedTokenizerFast:
    """Its turns end with one token, its texts with another."""
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    return make_tokenizer(CHATML, special, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def headers() -> PreTrainedTokenizerFast:
    special = ["<|begin|>", "<|header|>", "<|end_header|>", "<|eot|>", "<|end|>"]
    return make_tokenizer(HEADERS, special, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|end|>")


def instructions() -> PreTrainedTokenizerFast:
    """No prompt for the assistant, no system turn; it pads with its end token."""
    return make_tokenizer(INSTRUCTIONS, ["<s>", "</s>"], bos_token="<s>", eos_token="</s>", pad_token="</s>")


EVIDENCE = Evidence(
    number=1,
    document_id="d",
    version="v",
    source="pumps.md",
    title="Pumps",
    language="en",
    start=0,
    end=17,
    page=None,
    context="Pumps",
    text="The pump is here.",
    chunk_ids=("c",),
    score=1.0,
)
TOKENIZERS = {"chatml": chatml, "headers": headers, "instructions": instructions}
END_OF_TURN = {"chatml": "<|im_end|>", "headers": "<|eot|>", "instructions": "</s>"}
LEADING = {"chatml": "", "headers": "", "instructions": " "}


def dialogue(*turns: tuple[str, str], **fields: object) -> TrainingExample:
    messages = [{"role": role, "content": content} for role, content in turns]
    return TrainingExample.model_validate(
        {"id": "e", "source": "s", "family": "domain", "group": "g", "messages": messages, **fields}
    )


def learnt_runs(tokenizer: PreTrainedTokenizerFast, ids: tuple[int, ...], labels: tuple[int, ...]) -> list[str]:
    """The text of each unbroken run of learnt tokens."""
    runs: list[list[int]] = []
    inside = False
    for token, label in zip(ids, labels, strict=True):
        assert label in (MASKED, token)
        if label != MASKED:
            if not inside:
                runs.append([])
            runs[-1].append(token)
        inside = label != MASKED
    return [tokenizer.backend_tokenizer.decode(run, skip_special_tokens=False) for run in runs]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_only_what_the_assistant_says_and_its_end_are_learnt(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    prompt = build("Where is the pump?", [EVIDENCE], grounded=True)
    turns = [(message.role, message.content) for message in prompt]
    encoded = Encoder(tokenizer, max_tokens=4000).encode(dialogue(*turns, ("assistant", "It is here. [1]")))
    expected = f"{LEADING[name]}It is here. [1]{END_OF_TURN[name]}"
    assert learnt_runs(tokenizer, encoded.input_ids, encoded.labels) == [expected]
    chat = [{"role": role, "content": content} for role, content in turns]
    served = tokenizer.backend_tokenizer.encode(
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True), add_special_tokens=False
    ).ids
    assert list(encoded.input_ids[: len(served)]) == served
    assert set(encoded.labels[: len(served)]) == {MASKED}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_assistant_turn_is_learnt(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    example = dialogue(
        ("system", "Rules."),
        ("user", "One?"),
        ("assistant", "the first"),
        ("user", "the first"),
        ("assistant", "the first"),
    )
    encoded = Encoder(tokenizer, max_tokens=4000).encode(example)
    run = f"{LEADING[name]}the first{END_OF_TURN[name]}"
    assert learnt_runs(tokenizer, encoded.input_ids, encoded.labels) == [run, run]
    assert encoded.supervised_tokens == sum(label != MASKED for label in encoded.labels)


def test_a_template_that_adds_a_system_message_of_its_own_does_not_shift_the_mask() -> None:
    tokenizer = chatml()
    encoded = Encoder(tokenizer, max_tokens=4000).encode(dialogue(("user", "Hm?"), ("assistant", "Yes.")))
    assert "Be kind." in tokenizer.decode(list(encoded.input_ids))
    assert learnt_runs(tokenizer, encoded.input_ids, encoded.labels) == ["Yes.<|im_end|>"]


def test_the_end_token_is_learnt_although_it_is_the_pad_token_too() -> None:
    tokenizer = instructions()
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    encoded = Encoder(tokenizer, max_tokens=4000).encode(dialogue(("user", "Hm?"), ("assistant", "Yes.")))
    assert encoded.input_ids[-1] == encoded.labels[-1] == tokenizer.eos_token_id


def test_raw_text_is_learnt_whole_but_for_its_first_token_and_ends() -> None:
    tokenizer = chatml()
    example = TrainingExample(id="e", source="s", family="domain", group="g", text="the pump and the valve")
    encoded = Encoder(tokenizer, max_tokens=4000).encode(example)
    assert encoded.labels == (MASKED, *encoded.input_ids[1:])
    assert encoded.input_ids[-1] == tokenizer.eos_token_id


def test_pieces_of_a_long_text_are_the_text() -> None:
    tokenizer = chatml()
    example = TrainingExample(id="e", source="s", family="domain", group="g", text="the pump and the valve " * 40)
    whole = Encoder(tokenizer, max_tokens=4000).encode(example)
    pieces = Encoder(tokenizer, max_tokens=32).pieces(example)
    assert [token for piece in pieces for token in piece.input_ids] == list(whole.input_ids)
    assert all(len(piece.input_ids) <= 32 and piece.labels[0] == MASKED for piece in pieces)
    assert [piece.id for piece in pieces] == [f"e#{number}" for number in range(len(pieces))]


def test_what_is_too_long_is_refused_not_cut() -> None:
    with pytest.raises(DoesNotFitError, match="has 32 tokens, but at most 5"):
        Encoder(chatml(), max_tokens=5).encode(dialogue(("user", "Hm?"), ("assistant", "Yes.")))


def test_a_special_token_in_a_text_is_refused() -> None:
    with pytest.raises(UsageError, match=r"special token <\|im_end\|>"):
        Encoder(chatml(), max_tokens=400).encode(dialogue(("user", "Hm?<|im_end|>"), ("assistant", "Yes.")))


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if loop.last %}{{ message['content'] }}{% else %}...{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer = make_tokenizer(template, ["<|im_start|>", "<|im_end|>"], eos_token="<|im_end|>")
    example = dialogue(("user", "One?"), ("assistant", "yes"), ("user", "Two?"), ("assistant", "no"))
    with pytest.raises(UsageError, match="divide the dialogue"):
        Encoder(tokenizer, max_tokens=400).encode(example)


def test_white_space_that_melts_with_the_prompt_is_refused() -> None:
    tokenizer = make_tokenizer(CHATML, ["<|im_start|>", "<|im_end|>"], eos_token="<|im_end|>", seen="\n\n" * 50)
    assert len(tokenizer.backend_tokenizer.encode("\n\n", add_special_tokens=False).ids) == 1
    with pytest.raises(UsageError, match="strip white space"):
        Encoder(tokenizer, max_tokens=400).encode(dialogue(("user", "One?"), ("assistant", "\n\nyes")))
