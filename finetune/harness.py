"""Tasks of lm-evaluation-harness before and after, where it is installed. The only file that imports it."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rag.errors import NotSupportedError


def is_installed() -> bool:
    return find_spec("lm_eval") is not None


def changes(model: Path, adapter: Path, tasks: Sequence[str], limit: int | None = None) -> Mapping[str, float]:
    """Change of accuracy by task, after less before. Raises ``NotSupportedError`` where it is not installed."""
    if not is_installed():
        raise NotSupportedError("tasks of lm-evaluation-harness need it installed: pip install lm-eval")
    import lm_eval

    found: list[dict[str, Any]] = []
    for peft in (None, adapter):
        arguments = {"pretrained": str(model), "dtype": "float32", **({"peft": str(peft)} if peft else {})}
        outcome = lm_eval.simple_evaluate(model="hf", model_args=arguments, tasks=list(tasks), limit=limit)
        found.append(outcome["results"])
    before, after = found
    return {task: float(after[task]["acc,none"]) - float(before[task]["acc,none"]) for task in before}
