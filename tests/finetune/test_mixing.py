"""A mix's shares, repeats, gates and held-out groups, on examples whose supervised tokens are written in their ids."""

import json
from collections import Counter
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.examples import TrainingExample, write_examples
from finetune.mixing import MixOptions, mix, mix_files, mix_hash, read_manifest, write_mix
from finetune.ratios import Mass, ratio_problem
from rag.errors import StateError, UsageError


def example(id: str, tokens: int, *, family="domain", group="", source="", weight=1.0, text=False) -> TrainingExample:
    content = "w " * tokens
    body = {"text": content} if text else {"messages": ({"role": "assistant", "content": content},)}
    return TrainingExample(
        id=id, source=source or f"{family} source", family=family, group=group or id, weight=weight, **body
    )


def count(given: TrainingExample) -> int:
    tokens = len((given.text or given.messages[-1].content).split())
    if tokens > 1000:
        raise UsageError(f"{given.id} has {tokens} tokens, more than 1000")
    return tokens


def options(**changes: object) -> MixOptions:
    return MixOptions.model_validate({"max_tokens": 1000, "model": "tiny", "validation": 0, **changes})


def family(name: str, lengths: list[int], **more) -> list[TrainingExample]:
    return [example(f"{name[0]}{number}", tokens, family=name, **more) for number, tokens in enumerate(lengths)]


def test_every_domain_example_is_in_the_pass_once_and_general_ones_fill_the_share():
    made = mix([*family("domain", [10] * 20), *family("general", [5] * 200)], options(), count)
    manifest = made.manifest
    assert manifest.amounts["domain"].examples == 20
    assert manifest.amounts["general"].examples == 40
    assert manifest.shares["domain"].loss == manifest.shares["domain"].supervised_tokens == 0.5
    assert manifest.shares["domain"].examples == pytest.approx(1 / 3)
    assert max(Counter(manifest.order).values()) == 1
    assert sorted(each.id for each in made.train) == sorted(manifest.order)
    assert manifest.waiver is None


def test_weights_count_in_the_loss_and_stay_as_they_are():
    examples = [*family("domain", [10] * 20, weight=2.0), *family("general", [10] * 100)]
    made = mix(examples, options(), count)
    assert made.manifest.amounts["general"].examples == 40
    assert made.manifest.shares["domain"].supervised_tokens == pytest.approx(1 / 3)
    assert {each.weight for each in made.train if each.family == "domain"} == {2.0}


def test_scarce_general_data_is_repeated_evenly_and_told_by_source():
    examples = [*family("domain", [10] * 25), *family("general", [10] * 10)]
    manifest = mix(examples, options(), count).manifest
    times = Counter(id for id in manifest.order if id.startswith("g"))
    assert sorted(times.values()) == [2] * 5 + [3] * 5
    told = manifest.repeats["general source"]
    assert (told.available, told.distinct, told.examples, told.most) == (10, 10, 25, 3)
    for id in times:  # the copies of an example are never side by side
        places = [place for place, each in enumerate(manifest.order) if each == id]
        assert min(after - before for before, after in pairwise(places)) > 2


@given(
    domain=st.lists(st.integers(1, 60), min_size=4, max_size=30),
    general=st.lists(st.integers(1, 60), min_size=30, max_size=60),
    share=st.floats(0.42, 0.58),
    seed=st.integers(0, 3),
)
def test_each_stretch_of_the_pass_has_the_shares_of_the_whole(domain, general, share, seed):
    examples = {each.id: each for each in (*family("domain", domain), *family("general", general))}
    manifest = mix(examples.values(), options(share=share, seed=seed, most_repeats=100), count, waiver="tiny").manifest
    whole = {name: amounts.loss for name, amounts in manifest.amounts.items()}
    # Up to half of an example on either side of the cut, in each family.
    slack = sum(60 / loss for loss in whole.values() if loss)
    for name in whole:
        masses = [count(examples[id]) * (examples[id].family == name) for id in manifest.order]
        other = [count(examples[id]) * (examples[id].family != name) for id in manifest.order]
        rest = sum(whole.values()) - whole[name]
        for done, done_other in zip(accumulate(masses), accumulate(other), strict=True):
            if whole[name] and rest:
                assert abs(done / whole[name] - done_other / rest) <= slack + 1e-9


@given(seed=st.integers(0, 5), shuffled=st.randoms(use_true_random=False))
def test_the_same_examples_give_the_same_mix_whatever_their_order(seed, shuffled):
    examples = [*family("domain", [3, 9, 27, 5]), *family("general", list(range(1, 30)))]
    chosen = options(seed=seed, validation=0.2)
    first = mix(examples, chosen, count, waiver="tiny")
    shuffled.shuffle(examples)
    assert mix(examples, chosen, count, waiver="tiny") == first


@given(seed=st.integers(0, 20))
def test_a_general_answer_that_is_too_long_for_the_share_does_not_end_the_drawing(seed):
    examples = [*family("domain", [10] * 10), *family("general", [900, 800, *[10] * 30])]
    manifest = mix(examples, options(seed=seed), count).manifest
    assert manifest.amounts["general"].supervised_tokens == 100
    assert manifest.repeats["general source"].most == 1


def test_another_seed_chooses_and_orders_otherwise():
    examples = [*family("domain", [10] * 10), *family("general", [10] * 50)]
    one, two = (mix(examples, options(seed=seed), count).manifest.order for seed in (1, 2))
    assert set(one) != set(two)
    assert [id for id in one if id[0] == "d"] != [id for id in two if id[0] == "d"]


def test_groups_are_held_out_whole_in_both_families():
    examples = [
        example(f"{name[0]}{group}-{number}", 10, family=name, group=f"{name} {group}")
        for name in ("domain", "general")
        for group in range(20)
        for number in range(5)
    ]
    made = mix(examples, options(validation=0.1), count)
    trained, held = ({each.group for each in part} for part in (made.train, made.validation))
    assert not trained & held
    assert Counter(each.family for each in made.validation) == {"domain": 10, "general": 10}
    assert made.manifest.validation == {"domain": 10, "general": 10}
    assert not {each.id for each in made.validation} & set(made.manifest.order)


def test_a_family_of_one_group_cannot_be_divided():
    examples = [*family("domain", [10] * 10, group="the only"), *family("general", [10] * 50)]
    with pytest.raises(UsageError, match=r"'the only'.*--validation 0"):
        mix(examples, options(validation=0.05), count)


def test_too_little_general_data_breaks_the_rule_and_the_message_says_how_much_is_missing():
    examples = [*family("domain", [10] * 100), *family("general", [10] * 10)]
    with pytest.raises(UsageError, match=r"share of the loss is 0\.714, .* 267 more supervised tokens .* 600 for 1:1"):
        mix(examples, options(), count)
    manifest = mix(examples, options(), count, waiver="nothing else may be had").manifest
    assert manifest.waiver == "nothing else may be had"
    assert manifest.shares["domain"].loss == pytest.approx(1000 / 1400)


def test_a_waiver_that_is_not_needed_is_not_recorded():
    examples = [*family("domain", [10] * 10), *family("general", [10] * 10)]
    assert mix(examples, options(), count, waiver="just in case").manifest.waiver is None


def test_continued_pretraining_names_the_missing_general_tokens():
    examples = [*family("domain", [100] * 9, text=True), *family("general", [100] * 11, text=True)]
    wanted = r"0\.450 of the mix, above 0\.15: 4,000 more .* 9 to 12\.5 % .* 5,200 to 7,900 more"
    with pytest.raises(UsageError, match=wanted):
        mix(examples, options(objective="cpt", share=0.1, most_repeats=1), count)


def test_continued_pretraining_at_the_advised_share_keeps_the_rule():
    examples = [*family("domain", [100] * 2, text=True), *family("general", [100] * 40, text=True)]
    manifest = mix(examples, options(objective="cpt", share=0.1, most_repeats=1), count).manifest
    assert manifest.shares["domain"].supervised_tokens == pytest.approx(0.1)


def test_rules_hold_at_their_borders():
    assert ratio_problem("sft", Mass(40, 40.0), Mass(60, 60.0)) is None
    assert ratio_problem("sft", Mass(60, 60.0), Mass(40, 40.0)) is None
    assert "raise --share" in (ratio_problem("sft", Mass(39, 39.0), Mass(61, 61.0)) or "")
    assert ratio_problem("cpt", Mass(15, 15.0), Mass(85, 85.0)) is None
    assert "86 more" in (ratio_problem("cpt", Mass(30, 30.0), Mass(84, 84.0)) or "")
    # A weight stands for tokens: the rule cannot be met by weighing general text up, nor broken by weighing it down.
    assert ratio_problem("cpt", Mass(20, 2.0), Mass(80, 98.0)) is not None
    assert ratio_problem("cpt", Mass(10, 30.0), Mass(90, 70.0)) is not None


def test_what_cannot_be_trained_on_is_left_out_and_named():
    made = mix([*family("domain", [10, 2000]), *family("general", [10])], options(), count)
    assert [each.id for each in made.manifest.left_out] == ["d1"]
    assert "2000 tokens" in made.manifest.left_out[0].reason
    with pytest.raises(UsageError, match=r"no domain example.*d0 has 2000 tokens"):
        mix([*family("domain", [2000]), *family("general", [10])], options(), count)


def test_raw_text_and_dialogues_are_not_mixed():
    with pytest.raises(UsageError, match=r"'d0'.*raw text"):
        mix(family("domain", [10], text=True), options(), count)
    with pytest.raises(UsageError, match=r"'d0'.*a dialogue"):
        mix(family("domain", [10]), options(objective="cpt"), count)


def test_a_source_belongs_to_one_family():
    examples = [*family("domain", [10], source="both"), *family("general", [10], source="both")]
    with pytest.raises(UsageError, match="'both'"):
        mix(examples, options(), count)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    write_examples(tmp_path / "domain.jsonl", family("domain", [10] * 20))
    write_examples(tmp_path / "general.jsonl", family("general", [10] * 40))
    return tmp_path / "domain.jsonl", tmp_path / "general.jsonl"


def test_a_written_mix_is_read_back_and_written_again_is_the_same(files, tmp_path: Path):
    domain, general = files
    made = mix_files([domain], [general], options(validation=0.1), count)
    hashes = [write_mix(tmp_path / name, made) for name in ("one", "two")]
    assert hashes[0] == hashes[1] == mix_hash(tmp_path / "one")
    assert read_manifest(tmp_path / "one") == made.manifest
    assert [each.examples for each in made.manifest.inputs] == [20, 40]
    with pytest.raises(UsageError, match="not empty"):
        write_mix(tmp_path / "one", made)


def test_a_file_of_the_wrong_family_or_with_a_known_id_is_refused(files):
    domain, general = files
    with pytest.raises(UsageError, match=r"general\.jsonl was given as domain data"):
        mix_files([general], [], options(), count)
    with pytest.raises(UsageError, match="'d0'"):
        mix_files([domain, domain], [general], options(), count)


def test_a_folder_without_or_with_a_damaged_manifest_is_told(tmp_path: Path):
    with pytest.raises(UsageError, match="no mix"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1}), "utf-8")
    with pytest.raises(StateError, match="damaged"):
        read_manifest(tmp_path)
