"""LoRA adapters on one base model, loaded when first asked for."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from rag.adapters import KnownAdapters
from rag.errors import ModelError

_WEIGHTS = "adapter_model.safetensors"


class Adapters:
    """A base model and its adapters, by name. Not thread-safe: one thread generates."""

    def __init__(self, base: PreTrainedModel, base_names: tuple[str, ...], known: KnownAdapters) -> None:
        """``base_names`` are what an adapter may call its base: the reference, the folder."""
        self._base = base
        self._base_names = base_names
        self._known = known
        self._wrapped: PeftModel | None = None
        self._loaded: set[str] = set()

    def name_of(self, reference: str | None) -> str | None:
        """What a label stands for now, by which everything computed with it is to be kept.

        Raises ``NotFoundError`` for a name that nobody knows.
        """
        return None if reference is None else self._known.find(reference).name

    @contextmanager
    def active(self, name: str | None) -> Iterator[torch.nn.Module]:
        """The model to call, with this adapter or, for ``None``, as the base is."""
        if name is not None:
            yield self._with_adapter(name)
        elif self._wrapped is not None:
            with self._wrapped.disable_adapter():
                yield self._wrapped
        else:
            yield self._base

    def _with_adapter(self, name: str) -> PeftModel:
        if name not in self._loaded:
            folder = Path(self._known.find(name).folder).expanduser()
            self._check_fits(name, folder)
            with warnings.catch_warnings():
                # peft asks for it by the name that transformers 5 has deprecated; nothing we could change.
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
                if self._wrapped is None:
                    self._wrapped = PeftModel.from_pretrained(self._base, folder, adapter_name=name)
                else:
                    self._wrapped.load_adapter(folder, name)
            self._wrapped.eval()
            self._loaded.add(name)
        assert self._wrapped is not None
        self._wrapped.set_adapter(name)
        self._forget_those_gone()
        return self._wrapped

    def _forget_those_gone(self) -> None:
        """Give back the memory of adapters that were removed since."""
        for name in self._loaded - set(self._known.names()):
            assert self._wrapped is not None
            self._wrapped.delete_adapter(name)
            self._loaded.discard(name)

    def _check_fits(self, name: str, folder: Path) -> None:
        """Before peft touches the base: its kind, its base's name, and the shape of every matrix."""
        try:
            config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
            with safe_open(folder / _WEIGHTS, framework="pt") as file:
                shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(f"the adapter {name} in {folder} cannot be read: {error}") from error
        if config.get("peft_type") != "LORA":
            raise ModelError(f"the adapter {name} is of type {config.get('peft_type')}; only LORA is supported")
        trained_on = str(config.get("base_model_name_or_path") or "")
        if trained_on and _last_part(trained_on) not in {_last_part(base) for base in self._base_names}:
            raise ModelError(
                f"the adapter {name} was trained on {trained_on}, but generation.model is {self._base_names[0]}; "
                "serve it with its own base"
            )
        modules = dict(self._base.named_modules())
        for key, shape in shapes.items():
            path, _, matrix = key.removeprefix("base_model.model.").partition(".lora_")
            # peft stores A as (rank, inputs) and B as (outputs, rank).
            side, attribute = (1, "in_features") if matrix.startswith("A") else (0, "out_features")
            expected = getattr(modules.get(path), attribute, None)
            if matrix and expected != shape[side]:
                raise ModelError(
                    f"the adapter {name} does not fit {self._base_names[0]}: {key} has the shape {shape}, "
                    f"but {path} {'is missing' if expected is None else f'takes {expected}'} there"
                )


def _last_part(name: str) -> str:
    """`owner/model`, `/folder/model` and a cached `owner--model` are all `model`."""
    return Path(name).name.rpartition("--")[2].casefold()
