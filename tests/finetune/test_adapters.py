"""The registry: names by content, labels with a history, and no state between two."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.adapters import LABELS, MANIFEST, AdapterRegistry, content_hash
from finetune.fitting import CONFIG, WEIGHTS, Base
from rag.errors import ModelError, NotFoundError, StateError, UsageError
from rag.types import Exposure, Gate
from tests.finetune.workbench import make_adapter, make_base

PASSED = Gate("forgetting", -0.01, -0.03, 0.01, passed=True)
MISSED = Gate("forgetting", -0.2, -0.3, -0.1, passed=False)


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return make_base(tmp_path / "base")


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(tmp_path / "home")


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [make_adapter(tmp_path / f"trained-{seed}", seed) for seed in range(3)]


def state(registry: AdapterRegistry) -> object:
    """All that a reader can see, and whether it is whole."""
    manifests = registry.list()
    for manifest in manifests:
        registry.verify(manifest.name)
    names = {each.name for each in manifests}
    labels = {label: list(history) for label, history in registry.labels().items()}
    assert registry.broken() == ()
    assert all(name in names for history in labels.values() for name in history)
    return sorted(names), labels


# --- registering ----------------------------------------------------------------------------------


def test_a_registered_adapter_comes_back_as_it_was_described(
    registry: AdapterRegistry, base: Base, folders: list[Path], tmp_path: Path
) -> None:
    made = registry.register(
        folders[0],
        "support",
        base,
        kind="grounded",
        prompt_fingerprint="p1",
        mix_hash="m1",
        waiver="too little general data",
        exposure=Exposure(("fact-1", "fact-2"), ("doc-1",)),
        gates=(PASSED,),
    )
    assert made.name == f"support-{made.content_hash[:12]}"
    assert (made.base, made.base_type, made.base_hash) == ("tiny", "llama", base.weights_hash)
    assert (made.rank, made.alpha, made.target_modules) == (2, 4.0, ("q_proj", "v_proj"))
    fresh = AdapterRegistry(tmp_path / "home")
    assert fresh.get(made.name) == made
    assert fresh.list() == (made,)
    folder = fresh.folder(made.name)
    assert sorted(path.name for path in folder.iterdir()) == sorted([WEIGHTS, CONFIG, MANIFEST])
    assert (folder / WEIGHTS).read_bytes() == (folders[0] / WEIGHTS).read_bytes()
    assert content_hash(folder) == made.content_hash


def test_nothing_is_written_by_looking(registry: AdapterRegistry) -> None:
    assert registry.list() == ()
    assert registry.labels() == {}
    assert registry.resolve("support") is None
    assert not registry.root.exists()


def test_the_same_training_has_the_same_name_wherever_it_lay_and_in_whatever_order_its_modules_were_kept(
    registry: AdapterRegistry, base: Base, tmp_path: Path
) -> None:
    one = make_adapter(tmp_path / "one", 1, target_modules=["q_proj", "v_proj"], base_model_name_or_path="/here/tiny")
    two = make_adapter(tmp_path / "two", 1, target_modules=["v_proj", "q_proj"], base_model_name_or_path="owner/tiny")
    assert registry.register(one, "a", base) == registry.register(two, "a", base)
    assert len(registry.list()) == 1


def test_other_weights_or_another_setting_have_another_name(
    registry: AdapterRegistry, base: Base, tmp_path: Path
) -> None:
    variants = [
        make_adapter(tmp_path / "one", 1),
        make_adapter(tmp_path / "two", 2),
        make_adapter(tmp_path / "three", 1, lora_alpha=64),
    ]
    assert len({registry.register(folder, "a", base).name for folder in variants}) == 3


def test_the_same_content_with_other_details_is_refused(
    registry: AdapterRegistry, base: Base, folders: list[Path]
) -> None:
    registry.register(folders[0], "a", base, gates=(PASSED,))
    with pytest.raises(UsageError, match="with other details"):
        registry.register(folders[0], "a", base, gates=(MISSED,))
    with pytest.raises(UsageError, match="with other details"):
        registry.register(folders[0], "a", replace(base, weights_hash="0" * 64), gates=(PASSED,))
    registry.register(folders[0], "b", base)
    assert len(registry.list()) == 2


def test_what_else_lies_in_a_trainings_folder_is_left_there(
    registry: AdapterRegistry, base: Base, folders: list[Path]
) -> None:
    for name in ("optimizer.pt", "adapter_model.bin", "README.md"):
        (folders[0] / name).write_bytes(b"x")
    folder = registry.folder(registry.register(folders[0], "a", base).name)
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, CONFIG, MANIFEST}


@pytest.mark.parametrize("label", ["", "Support", "a b", "a@b", "a/b", "../a", "a.b", "-a", "a" * 49, "a-0123456789ab"])
def test_labels_that_would_not_do_in_a_models_name_are_refused(
    registry: AdapterRegistry, base: Base, folders: list[Path], label: str
) -> None:
    with pytest.raises(UsageError, match="no label for an adapter"):
        registry.register(folders[0], label, base)


def test_what_does_not_fit_is_refused_and_leaves_nothing(registry: AdapterRegistry, base: Base, tmp_path: Path) -> None:
    pickled = make_adapter(tmp_path / "pickled")
    (pickled / WEIGHTS).rename(pickled / "adapter_model.bin")
    refused = [
        (pickled, "pickle"),
        (make_adapter(tmp_path / "other", base_model_name_or_path="owner/other"), "was trained on owner/other"),
        (make_adapter(tmp_path / "r", r=1), "does not fit tiny"),
        (tmp_path / "nowhere", "holds no adapter"),
    ]
    for folder, reason in refused:
        with pytest.raises(ModelError, match=reason):
            registry.register(folder, "a", base)
    assert registry.list() == ()
    assert [path.name for path in registry.root.iterdir() if path.name != ".lock"] == []


def test_the_callers_word_on_the_base_outranks_the_configurations(
    registry: AdapterRegistry, base: Base, tmp_path: Path
) -> None:
    folder = make_adapter(tmp_path / "other", base_model_name_or_path="/runs/checkpoint-7")
    manifest = registry.register(folder, "a", base, any_base_name=True)
    stored = json.loads((registry.folder(manifest.name) / CONFIG).read_text())
    assert stored["base_model_name_or_path"] == "tiny"


# --- labels ---------------------------------------------------------------------------------------


def test_a_label_stands_for_what_was_promoted_last_and_rolls_back(
    registry: AdapterRegistry, base: Base, folders: list[Path]
) -> None:
    one, two, three = (registry.register(folder, "a", base).name for folder in folders)
    assert registry.resolve(one) == one
    with pytest.raises(NotFoundError, match=f"domainqa adapters promote a NAME.*{one}"):
        registry.resolve("a")
    for name in (one, two, two, three):
        assert registry.promote("a", name).name == name
        assert registry.resolve("a") == name
    assert registry.labels() == {"a": [one, two, three]}
    assert registry.rollback("a").name == two
    assert registry.rollback("a").name == one == registry.resolve("a")
    with pytest.raises(NotFoundError, match="no earlier adapter"):
        registry.rollback("a")
    with pytest.raises(NotFoundError, match="no earlier adapter"):
        registry.rollback("b")
    assert registry.resolve("b") is None
    assert registry.resolve(f"a-{'0' * 12}") is None


def test_only_an_adapter_of_the_label_can_be_promoted(
    registry: AdapterRegistry, base: Base, folders: list[Path]
) -> None:
    name = registry.register(folders[0], "a", base).name
    with pytest.raises(UsageError, match="has the label 'a'"):
        registry.promote("b", name)
    with pytest.raises(NotFoundError, match=f"there are: {name}"):
        registry.promote("a", f"a-{'0' * 12}")
    with pytest.raises(NotFoundError):
        registry.promote("a", "../../etc")


def test_an_adapter_that_missed_a_gate_is_promoted_only_when_told(
    registry: AdapterRegistry, base: Base, folders: list[Path]
) -> None:
    name = registry.register(folders[0], "a", base, gates=(PASSED, MISSED)).name
    with pytest.raises(UsageError, match="missed its gates"):
        registry.promote("a", name)
    assert registry.labels() == {}
    registry.promote("a", name, despite_gates=True)
    assert registry.resolve("a") == name


def test_a_removed_adapter_is_gone_from_disk_and_histories(
    registry: AdapterRegistry, base: Base, folders: list[Path]
) -> None:
    one, two, three = (registry.register(folder, "a", base).name for folder in folders)
    for name in (one, two, one, three):
        registry.promote("a", name)
    registry.remove(two)
    assert registry.labels() == {"a": [one, three]}
    with pytest.raises(UsageError, match="is the current one of the label 'a'"):
        registry.remove(three)
    registry.remove(three, even_if_current=True)
    assert registry.resolve("a") == one
    registry.remove(one, even_if_current=True)
    assert registry.labels() == {}
    assert registry.list() == ()
    with pytest.raises(NotFoundError):
        registry.remove(one)
    with pytest.raises(NotFoundError):
        registry.remove("..")
    assert sorted(path.name for path in registry.root.iterdir()) == [".lock", LABELS]


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["promote", "rollback", "remove", "register"]), st.integers(0, 2))))
def test_any_order_of_changes_keeps_labels_on_what_is_registered(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Against a plain model of two lists."""
    folder = tmp_path_factory.mktemp("registry")
    base = make_base(folder / "base")
    registry = AdapterRegistry(folder / "home")
    trained = [make_adapter(folder / f"trained-{seed}", seed) for seed in range(3)]
    names = [registry.register(each, "a", base).name for each in trained]
    present, history = set(names), []
    for action, which in steps:
        name = names[which]
        if action == "register":
            registry.register(trained[which], "a", base)
            present.add(name)
        elif action == "promote" and name in present:
            registry.promote("a", name)
            history = history if history[-1:] == [name] else [*history, name]
        elif action == "rollback" and len(history) > 1:
            history = history[:-1]
            assert registry.rollback("a").name == history[-1]
        elif action == "remove" and name in present:
            registry.remove(name, even_if_current=True)
            present.discard(name)
            left = [each for each in history if each != name]
            history = [each for number, each in enumerate(left) if number == 0 or left[number - 1] != each]
        assert state(registry) == (sorted(present), {"a": history} if history else {})


# --- damage ---------------------------------------------------------------------------------------


def test_changed_files_are_found(registry: AdapterRegistry, base: Base, folders: list[Path]) -> None:
    name = registry.register(folders[0], "a", base).name
    registry.verify(name)
    weights = registry.folder(name) / WEIGHTS
    weights.chmod(0o644)
    shutil.copyfile(folders[1] / WEIGHTS, weights)
    with pytest.raises(ModelError, match="were changed after it was registered"):
        registry.verify(name)
    weights.unlink()
    with pytest.raises(ModelError, match="is damaged"):
        registry.verify(name)


def test_a_damaged_manifest_is_named_and_hides_no_other(
    registry: AdapterRegistry, base: Base, folders: list[Path]
) -> None:
    one, two, three = (registry.register(folder, "a", base).name for folder in folders)
    for name in (one, two):
        (registry.folder(name) / MANIFEST).chmod(0o644)
    (registry.folder(one) / MANIFEST).write_text('{"format": 2}')
    (registry.folder(two) / MANIFEST).unlink()
    assert [each.name for each in registry.list()] == [three]
    assert {each.source for each in registry.broken()} == {one, two}
    with pytest.raises(StateError, match="is damaged"):
        registry.get(one)
    registry.remove(one)
    registry.remove(two)
    assert registry.broken() == ()


def test_damaged_labels_are_an_error_that_says_what_to_do(
    registry: AdapterRegistry, base: Base, folders: list[Path]
) -> None:
    name = registry.register(folders[0], "a", base).name
    (registry.root / LABELS).write_text("{")
    with pytest.raises(StateError, match="promote the adapters again"):
        registry.labels()
    assert registry.resolve(name) == name, "a name needs no labels"


# --- crashes and company --------------------------------------------------------------------------

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.copyfile", "shutil.rmtree"}


def killed_at(number: int, root: Path, change: Callable[[], object]) -> bool:
    """Do it in a process that is killed before its ``number``-th step below ``root``; whether it got there."""
    child = os.fork()
    if child == 0:
        left = number

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in EVENTS and arguments and str(arguments[0]).startswith(str(root)):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            sys.addaudithook(watch)
            change()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


@pytest.mark.parametrize("change", ["register", "promote", "rollback", "remove"])
def test_killed_anywhere_it_is_as_before_or_as_after_and_the_next_change_clears_up(
    tmp_path: Path, base: Base, folders: list[Path], change: str
) -> None:
    def prepared(home: Path) -> AdapterRegistry:
        registry = AdapterRegistry(home)
        for folder in folders[:2]:
            registry.promote("a", registry.register(folder, "a", base).name)
        return registry

    def do(registry: AdapterRegistry) -> object:
        one, two = sorted(registry.labels()["a"], key=registry.labels()["a"].index)
        return {
            "register": lambda: registry.register(folders[2], "a", base),
            "promote": lambda: registry.promote("a", one),
            "rollback": lambda: registry.rollback("a"),
            "remove": lambda: registry.remove(two, even_if_current=True),
        }[change]()

    template = tmp_path / "template"
    before = state(prepared(template))
    finished = tmp_path / "finished"
    shutil.copytree(template, finished)
    do(AdapterRegistry(finished))
    after = state(AdapterRegistry(finished))
    between = ([*before[0]], {"a": before[1]["a"][:1]})  # removing takes the label away first
    assert before != after

    number, seen = 1, set()
    while True:
        home = tmp_path / str(number)
        shutil.copytree(template, home)
        registry = AdapterRegistry(home)
        if not killed_at(number, home, lambda registry=registry: do(registry)):
            break
        found = state(registry)
        assert found in ([before, between, after] if change == "remove" else [before, after])
        seen.add(json.dumps(found))
        extra = registry.register(folders[2], "b", base).name
        registry.remove(extra)
        assert {path.name for path in registry.root.iterdir()} == {".lock", LABELS, *found[0]}
        number += 1
    assert state(registry) == after
    assert number > 5
    assert len(seen) > 1, "the kills fell on both sides of the change"


def _register_many(home: Path, base: Base, folders: list[Path], label: str) -> None:
    registry = AdapterRegistry(home)
    for _ in range(5):
        for folder in folders:
            registry.promote(label, registry.register(folder, label, base).name)
        registry.remove(registry.labels()[label][-1], even_if_current=True)


def test_two_writers_wait_for_each_other_and_readers_see_whole_states(
    tmp_path: Path, base: Base, folders: list[Path], registry: AdapterRegistry
) -> None:
    context = get_context("fork")
    writers = [
        context.Process(target=_register_many, args=(tmp_path / "home", base, folders, label)) for label in ("a", "b")
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        for manifest in registry.list():
            assert manifest.name.startswith(manifest.label)
        registry.labels()
        assert [each for each in registry.broken() if registry.folder(each.source).is_dir()] == []
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert {label: len(set(history)) for label, history in registry.labels().items()} == {"a": 2, "b": 2}
    state(registry)


def test_a_writer_that_holds_the_lock_for_ever_is_told_of(
    registry: AdapterRegistry, base: Base, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.adapters._LOCK_TIMEOUT_S", 0.1)
    name = registry.register(folders[0], "a", base).name
    with registry.changing(), pytest.raises(StateError, match="another process"):
        AdapterRegistry(registry.root.parent).promote("a", name)
