import json
from pathlib import Path

from finetune.cleaning.cleaning import Rules, clean
from finetune.cleaning.decontamination import Decontaminator
from finetune.cleaning.report import CleaningReport
from finetune.examples import ExampleMessage, Family, Provenance, TrainingExample
from rag.evaluation.questions import EvaluationQuestion


def example(
    number: int, question: str, answer: str = "It is blue.", *, family: Family = "domain", fact: str | None = None,
    fingerprint: str | None = None, source: str = "own",
) -> TrainingExample:  # fmt: skip
    return TrainingExample(
        id=f"e{number}",
        messages=(ExampleMessage(role="user", content=question), ExampleMessage(role="assistant", content=answer)),
        source=source,
        family=family,
        group=f"g{number}",
        provenance=Provenance(fact_key=fact),
        prompt_fingerprint=fingerprint,
    )


def question(number: int, text: str, fact: str = "") -> EvaluationQuestion:
    return EvaluationQuestion(id=f"q{number}", question=text, answers=("blue",), fact_key=fact)


def dropped(report: CleaningReport) -> dict[str, tuple[str, str]]:
    return {each.id: (each.reason, each.detail) for each in report.dropped}


PASSAGES = '<passage number="1" from="manual">\nThe pump is blue and the valve is green and so on.\n</passage>'


def test_each_way_of_giving_a_question_away_is_found() -> None:
    asked = "Which colour has the casing of the ZP-40 pump in hall two?"
    given_away = Decontaminator([question(1, asked, "zp-40/colour"), question(2, "And its mass?")])
    examples = [
        example(1, asked.upper().replace("?", " ?!")),
        example(2, "What is painted blue?", fact="ZP-40/Colour"),
        example(3, f"Tell me, please, for my report: {asked.rstrip('?')} and why?"),
        example(4, "Which colour has the casing of a ZP-40 pump in hall two?"),
        example(5, "Which colour has the casing of the ZP-60 pump in hall two?"),
        example(6, "How heavy is the pump, and its mass in kilograms is what?"),
        example(7, f"{PASSAGES}\n\nQuestion: {asked}", fingerprint="f"),
    ]
    kept, report = clean(examples, Rules(), given_away)
    assert [each.id for each in kept] == ["e5", "e6"]
    assert dropped(report) == {
        "e1": ("contamination", "same question: q1"),
        "e2": ("contamination", "same fact: q1"),
        "e3": ("contamination", "same words: q1"),
        "e4": ("contamination", "nearly the same question: q1"),
        "e7": ("contamination", "same question: q1"),
    }
    by_question = Decontaminator([question(1, asked, "zp-40/colour")], same_facts=False)
    assert by_question.find(examples[1]) is None
    assert by_question.find(examples[0]) is not None


def test_a_raw_text_that_holds_a_question_is_found() -> None:
    asked = "Which colour has the casing of the ZP-40 pump in hall two?"
    text = TrainingExample(id="t", text=f"Quiz. {asked} Blue.", source="web", family="general", group="t")
    found = Decontaminator([question(1, asked)]).find(text)
    assert found is not None
    assert found.how == "same words"


def test_every_drop_has_its_reason_and_the_sums_agree() -> None:
    loop = "the cat sat on the mat " * 9
    examples = [
        example(1, "What colour is it?", "  It is\u200b blue.\r\n"),
        example(2, "what COLOUR is it", "It is blue"),
        example(3, "Say something long.", loop),
        example(4, "Say it in Russian.", "Это длинный ответ на русском языке, который легко узнать."),
        example(5, "Refuse.", "As an AI language model I cannot."),
        example(6, "Say nothing.", " \u200b "),
        TrainingExample(id="e7", text="Too short.", source="web", family="general", group="g"),
    ]
    kept, report = clean(examples, Rules(languages=("en",)))
    assert [each.id for each in kept] == ["e1"]
    assert kept[0].messages[1].content == "It is blue."
    assert {key: reason for key, (reason, _) in dropped(report).items()} == {
        "e2": "exact duplicate",
        "e3": "repetition",
        "e4": "language",
        "e5": "boilerplate",
        "e6": "length",
        "e7": "length",
    }
    assert (report.read, report.kept) == (7, 1)
    for counts in (*report.sources.values(), *report.families.values()):
        assert counts.read == counts.kept + sum(counts.dropped.values())
    assert report.sources["own"].changed == 1
    assert "own" in report.in_words()
    assert CleaningReport.model_validate_json(report.model_dump_json()) == report


def test_both_families_are_held_to_one_standard() -> None:
    bad = [example(1, "Refuse.", "As an AI language model I cannot."), example(2, "Loop.", "so it goes " * 10)]
    reasons = []
    for family in ("domain", "general"):
        _, report = clean([each.model_copy(update={"family": family}) for each in bad], Rules())
        reasons.append(dropped(report))
    assert reasons[0] == reasons[1]


def test_near_copies_go_and_other_figures_stay() -> None:
    text = " ".join(
        f"Sentence {word} of the long answer about pumps and valves." for word in ("one", "two", "three", "four")
    )
    examples = [
        example(1, "Tell me all about pumps.", f"{text} At last 12 bar."),
        example(2, "Tell me all about pumps.", f"{text} At last 12 bar!! Really."),
        example(3, "Tell me all about pumps.", f"{text} At last 16 bar."),
    ]
    kept, report = clean(examples, Rules())
    assert [each.id for each in kept] == ["e1", "e3"]
    assert dropped(report)["e2"][0] == "near duplicate"


def test_prompts_as_the_server_builds_them_are_never_changed_and_not_alike_for_their_passages() -> None:
    content = f"{PASSAGES}\r\n\n\nQuestion: What colour is the {{}}? \u200b"
    examples = [
        example(1, content.format("pump"), "Blue [1].", fingerprint="f"),
        example(2, content.format("valve"), "Green [1].", fingerprint="f"),
        example(3, "Whose number is it?", "+44 20 7946 0958", fingerprint="f"),
    ]
    kept, report = clean(examples, Rules(personal_data=True))
    assert kept == examples[:2]
    assert dropped(report)["e3"][0] == "personal data"
    assert report.sources["own"].changed == 0


def test_the_same_input_gives_the_same_output_and_the_output_stays_as_it_is() -> None:
    examples = [
        example(number, f"What is thing {number % 7} like?", f"It is {number % 5} metres long.") for number in range(60)
    ]
    once = clean(examples, Rules())
    assert clean(examples, Rules()) == once
    kept, report = clean(once[0], Rules())
    assert kept == once[0]
    assert report.dropped == []


def test_boilerplate_of_a_source_goes_from_its_answers_alone(tmp_path: Path) -> None:
    footer = "This page was last reviewed by the editors of the site."
    examples = [
        example(number, f"What is thing {number}? {footer}", f"Thing {number} is round. {footer}")
        for number in range(40)
    ]
    examples += [example(100 + number, f"Other {number}?", footer) for number in range(2)]
    kept, report = clean(examples, Rules())
    assert len(kept) == 40
    assert all(footer not in each.messages[1].content and footer in each.messages[0].content for each in kept)
    assert {reason for reason, _ in dropped(report).values()} == {"boilerplate"}
    json.loads(report.model_dump_json())
