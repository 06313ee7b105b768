from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from finetune.batching import Plan, plan_batches

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=80)


def plan(lengths: list[int], epochs: int = 2, packs: int = 3, seed: int = 0) -> Plan:
    ids = [f"e{number}" for number in range(len(lengths))]
    return plan_batches(
        ids, dict(zip(ids, lengths, strict=True)), epochs=epochs, pack_tokens=40, packs_per_batch=packs, seed=seed
    )


@given(LENGTHS, st.integers(1, 3), st.integers(1, 5))
def test_every_epoch_has_every_example_once(lengths: list[int], epochs: int, packs: int) -> None:
    made = plan(lengths, epochs, packs)
    used = Counter(id_ for batch in made.batches for pack in batch.packs for id_ in pack)
    used.update(made.left_out)
    assert used == Counter({f"e{number}": epochs for number in range(len(lengths))})
    assert len(made.left_out) < packs


@given(LENGTHS, st.integers(1, 5))
def test_packs_keep_to_the_limit_and_batches_are_equally_many(lengths: list[int], packs: int) -> None:
    made = plan(lengths, packs=packs)
    assert [batch.id for batch in made.batches] == list(range(len(made.batches)))
    for batch in made.batches:
        assert len(batch.packs) == packs
        for pack in batch.packs:
            assert pack
            assert sum(lengths[int(id_[1:])] for id_ in pack) <= 40


@given(LENGTHS)
def test_the_same_seed_gives_the_same_plan(lengths: list[int]) -> None:
    assert plan(lengths) == plan(lengths)


def test_packs_are_nearly_full() -> None:
    lengths = [1 + number * 7 % 40 for number in range(400)]
    made = plan(lengths, epochs=1, packs=1)
    assert sum(lengths) > 0.95 * 40 * len(made.batches)
