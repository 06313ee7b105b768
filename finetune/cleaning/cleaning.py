"""Examples in, clean examples out, by the same rules whatever their family: order is kept, nothing is drawn by chance.

Examples whose prompt was built as the server builds it (``prompt_fingerprint``) are judged and never changed: one
blank less, and training would see other tokens than serving.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from finetune.cleaning.boilerplate import RepeatedSentences, boilerplate
from finetune.cleaning.decontamination import Decontaminator, question_of
from finetune.cleaning.normalising import normalise
from finetune.cleaning.personal import scrub
from finetune.cleaning.repetition import repetition
from finetune.cleaning.report import CleaningReport, Dropped, Reason, Tally
from finetune.examples import ExampleMessage, TrainingExample
from rag.documents.languages import detect_language
from rag.resemblance import KnownTexts, figures_of, normalised

_Change = Callable[[str], str]


class Rules(BaseModel):
    """The standard. One for all: domain data that is held to less teaches its faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    languages: tuple[str, ...] = ()
    """ISO 639-1 codes to keep; all when empty. A text too short to tell is kept."""
    min_characters: int = Field(default=1, ge=1)
    """Of an answer, white space aside: short answers are the rule in question answering."""
    min_text_characters: int = Field(default=200, ge=1)
    """Of a raw text."""
    max_characters: int = Field(default=200_000, ge=1)
    """Of a whole example: beyond it lies a file that was not split."""
    near_duplicate: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity from which on the later of two texts with the same figures is dropped."""
    personal_data: bool = False
    """Take out addresses, telephone numbers, accounts and cards."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    reason: Reason
    detail: str


def clean(
    examples: Iterable[TrainingExample], rules: Rules, decontaminator: Decontaminator | None = None
) -> tuple[list[TrainingExample], CleaningReport]:
    """What is left, in order, and the report.

    All examples are held in memory: duplicates, and sentences that a source repeats, are found over all of them.
    """
    tally = Tally()
    mended: list[tuple[TrainingExample, TrainingExample]] = []
    for example in examples:
        tally.read(example.source, example.family)
        mended.append((example, _mend(example, rules)))
    repeated = {
        source: RepeatedSentences(_answer(example) for _, example in mended if example.source == source)
        for source in dict.fromkeys(example.source for _, example in mended)
    }
    duplicates = _Duplicates(rules.near_duplicate)
    kept = []
    for original, example in mended:
        stripped = _without(example, repeated[example.source])
        verdict = (
            _contaminated(example, decontaminator)
            or (_Verdict("boilerplate", "nothing in it is its own") if stripped is None else None)
            or _judge(stripped or example, rules)
            or duplicates.judge(stripped or example)
        )
        if verdict is not None:
            tally.drop(
                Dropped(
                    id=example.id,
                    source=example.source,
                    family=example.family,
                    reason=verdict.reason,
                    detail=verdict.detail,
                )
            )
            continue
        assert stripped is not None
        kept.append(stripped)
        tally.kept(example.source, example.family, changed=stripped != original)
    report = CleaningReport(
        rules=rules.model_dump(mode="json"), sources=tally.sources, families=tally.families, dropped=tally.dropped
    )
    return kept, report


def _mend(example: TrainingExample, rules: Rules) -> TrainingExample:
    if example.prompt_fingerprint is not None:
        return example

    def mend(text: str) -> str:
        text = normalise(text)
        return scrub(text) if rules.personal_data else text

    return _mapped(example, mend, mend)


def _without(example: TrainingExample, repeated: RepeatedSentences) -> TrainingExample | None:
    """``None`` where nothing is left of an answer."""
    if example.prompt_fingerprint is not None:
        return example
    left = _mapped(example, lambda text: text, repeated.without)
    return left if left == example or all(_learnt(left)) else None


def _mapped(example: TrainingExample, prompt: _Change, answer: _Change) -> TrainingExample:
    if example.text is not None:
        return example.model_copy(update={"text": answer(example.text)})
    messages = tuple(
        ExampleMessage(role=each.role, content=(answer if each.role == "assistant" else prompt)(each.content))
        for each in example.messages
    )
    return example.model_copy(update={"messages": messages})


def _judge(example: TrainingExample, rules: Rules) -> _Verdict | None:
    fewest = rules.min_text_characters if example.text is not None else rules.min_characters
    learnt = _learnt(example)
    length = min(len("".join(text.split())) for text in learnt)
    whole = sum(len(message.content) for message in example.messages) + len(example.text or "")
    if length < fewest:
        return _Verdict("length", f"{length} characters, fewer than {fewest}")
    if whole > rules.max_characters:
        return _Verdict("length", f"{whole} characters, more than {rules.max_characters}")
    for text in learnt:
        if rules.languages and (found := detect_language(text)) is not None and found not in rules.languages:
            return _Verdict("language", found)
        if (phrase := boilerplate(text)) is not None:
            return _Verdict("boilerplate", phrase)
        if (told := repetition(text)) is not None:
            return _Verdict("repetition", told)
    if rules.personal_data and any(scrub(text) != text for text in _all_texts(example)):
        return _Verdict("personal data", "it stands in a prompt that must stay as it is")
    return None


def _contaminated(example: TrainingExample, decontaminator: Decontaminator | None) -> _Verdict | None:
    found = decontaminator.find(example) if decontaminator is not None else None
    return None if found is None else _Verdict("contamination", f"{found.how}: {found.question_id}")


class _Duplicates:
    """What was kept so far: the first of two stays, whichever source or family it is of."""

    def __init__(self, threshold: float) -> None:
        self._exact: dict[str, str] = {}
        self._near = KnownTexts(threshold)
        self._figures: dict[str, frozenset[str]] = {}

    def judge(self, example: TrainingExample) -> _Verdict | None:
        """Remembers the example unless it is one of them."""
        said = _said(example)
        key = normalised(said)
        if (same := self._exact.get(key)) is not None:
            return _Verdict("exact duplicate", same)
        figures = figures_of(said)
        for other, similarity in self._near.similar(said):
            if self._figures[other] == figures:
                return _Verdict("near duplicate", f"{other}, similarity {similarity:.2f}")
        self._exact[key] = example.id
        self._near.add(example.id, said)
        self._figures[example.id] = figures
        return None


def _said(example: TrainingExample) -> str:
    """What tells an example from another one: passages that many questions share do not."""
    if example.text is not None:
        return example.text
    return "\n".join(
        question_of(message.content) if message.role == "user" else message.content
        for message in example.messages
        if message.role != "system"
    )


def _learnt(example: TrainingExample) -> Sequence[str]:
    if example.text is not None:
        return (example.text,)
    return tuple(message.content for message in example.messages if message.role == "assistant")


def _answer(example: TrainingExample) -> str:
    return "\n".join(_learnt(example))


def _all_texts(example: TrainingExample) -> Sequence[str]:
    return (example.text,) if example.text is not None else tuple(message.content for message in example.messages)
