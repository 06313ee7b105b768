"""From a trained and checked run to the registry: ``domainqa finetune promote``.

The adapter that is registered is the one that was checked, its gates go into the manifest, and it becomes what its
label stands for only where it passed them.
"""

from pathlib import Path

from finetune.adapters import AdapterRegistry, content_hash
from finetune.examples import TrainingExample, read_examples
from finetune.fitting import Base
from finetune.forgetting import DOMAIN, Check, read_check
from finetune.mixing import TRAIN, mix_hash, read_manifest
from finetune.runs import ADAPTER, read_config
from rag.errors import ModelError, StateError, UsageError
from rag.types import AdapterKind, AdapterManifest, Exposure


def promote_run(
    registry: AdapterRegistry, run: Path, label: str, base: Base, *, despite_gates: bool = False
) -> AdapterManifest:
    """Register the run's adapter with the gates of its check, and make it current.

    Raises ``UsageError`` where it was not checked, missed a gate, or the domain's gain was not measured; with
    ``despite_gates`` the last two are let through, and the manifest shows it. ``StateError`` where adapter or mix are
    no longer those that were checked and trained on.
    """
    check = read_check(run)
    adapter = run / ADAPTER
    if hash_of(adapter) != check.adapter_hash:
        raise StateError(
            f"the adapter in {adapter} is not the one that was checked; run `domainqa finetune check {run}` again"
        )
    _refuse(run, check, despite_gates)
    config = read_config(run)
    mix = Path(config.mix)
    if mix_hash(mix) != config.mix_hash:
        raise StateError(f"the mix in {mix} is no longer the one that {run} was trained on; mix it again as it was")
    examples = [example for example in read_examples(mix / TRAIN) if example.family == "domain"]
    fingerprints = {example.prompt_fingerprint for example in examples} - {None}
    manifest = registry.register(
        adapter,
        label,
        base,
        kind=kind_of(config.settings.objective, examples),
        prompt_fingerprint=fingerprints.pop() if len(fingerprints) == 1 else None,
        mix_hash=config.mix_hash,
        waiver=read_manifest(mix).waiver,
        exposure=exposure_of(examples),
        gates=check.for_manifest,
    )
    return registry.promote(label, manifest.name, despite_gates=despite_gates)


def hash_of(adapter: Path) -> str:
    """Of the adapter's files. Raises ``ModelError`` where they cannot be read."""
    try:
        return content_hash(adapter)
    except OSError as error:
        raise ModelError(f"the adapter in {adapter} cannot be read: {error}") from error


def kind_of(objective: str, examples: list[TrainingExample]) -> AdapterKind:
    """By what it learnt: prompts with passages as the server makes them, questions alone, plain text."""
    if objective == "cpt":
        return "cpt"
    sources = {example.source for example in examples}
    if any(example.prompt_fingerprint is not None for example in examples):
        return "grounded"
    return "closed-book" if sources == {"closed-book"} else "other"


def exposure_of(examples: list[TrainingExample]) -> Exposure:
    found = [example.provenance for example in examples]
    return Exposure(
        fact_keys=tuple(sorted({each.fact_key for each in found if each.fact_key is not None})),
        documents=tuple(sorted({each.document for each in found if each.document is not None})),
    )


def _refuse(run: Path, check: Check, despite_gates: bool) -> None:
    if despite_gates:
        return
    if missed := [f"{gate.name}: {gate.reason}" for gate in check.gates if not gate.passed]:
        raise UsageError(f"{run} missed its gates ({'; '.join(missed)}); train another, or pass --despite-gates")
    if not any(gate.name == DOMAIN for gate in check.gates):
        raise UsageError(
            f"what {run} gained in its domain was not measured; run `domainqa finetune check {run}` with --questions "
            "or --scores"
        )
