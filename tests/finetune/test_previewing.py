from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from finetune.encoding import MASKED, Encoded
from finetune.previewing import show


@given(st.lists(st.tuples(st.integers(0, 25), st.booleans()), min_size=1))
def test_runs_alternate_and_give_back_every_token_with_its_mask(tokens):
    ids = tuple(id for id, _ in tokens)
    labels = tuple(id if learnt else MASKED for id, learnt in tokens)
    encoded = Encoded("a", "s", "domain", "g", 1.0, ids, labels)
    shown = show(encoded, lambda ids: "".join(chr(97 + id) for id in ids))
    assert "".join(run.text for run in shown.runs) == "".join(chr(97 + id) for id in ids)
    assert [run.learnt for run in shown.runs for _ in range(run.tokens)] == [learnt for _, learnt in tokens]
    assert all(one.learnt != two.learnt for one, two in pairwise(shown.runs))
