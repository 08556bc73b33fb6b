"""What a training writes and what it is continued from: adapters and whole models, as files.

The same weights give the same bytes. Knows PEFT's and transformers' file names, and no training.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from retune_stores.errors import InputError
from retune_trainer.learning.model import WANTED

ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
CONFIG = "config.json"
_PREFIX = "base_model.model."
# Where two models differ in one of these, they are not of one shape.
_SHAPE = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def _finite(tensors: Iterable[torch.Tensor]) -> None:
    if any(not torch.isfinite(tensor).all() for tensor in tensors if tensor.is_floating_point()):
        message = "the trained weights hold numbers that are not finite; lower spec.training.learningRate"
        raise InputError("TrainingDiverged", "spec.training.learningRate", message)


def trained(model: Any, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """What was trained, on the CPU: the adapter, or all weights in the type they are published in."""
    if hasattr(model, "peft_config"):
        return {name: tensor.cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    # Tied weights are one parameter.
    return {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.named_parameters()}


def put(model: Any, found: dict[str, torch.Tensor]) -> None:
    """The reverse of `trained`."""
    if hasattr(model, "peft_config"):
        set_peft_model_state_dict(model, found)
        return
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(found[name])


def keep(model: Any, path: Path, dtype: torch.dtype | None) -> None:
    """`trained` to a file."""
    save_file(trained(model, dtype), path, metadata={"format": "pt"})


def restore(model: Any, folder: Path) -> None:
    """The weights of a checkpoint that transformers wrote."""
    if hasattr(model, "peft_config"):
        set_peft_model_state_dict(model, load_file(folder / ADAPTER))
        return
    # Weights that are tied to another lie in the file once.
    for path in sorted(folder.glob("model*.safetensors")):
        model.load_state_dict(load_file(path), strict=False)


def save_adapter(model: Any, folder: Path, base: str) -> None:
    """Write the adapter's two files; `base` is what it says it belongs to.

    Raises:
        InputError: a number in it is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = trained(model, None)
    _finite(found.values())
    save_file(found, folder / ADAPTER, metadata={"format": "pt"})
    settings = {
        name: sorted(value) if isinstance(value, set | frozenset) else value
        for name, value in model.peft_config["default"].to_dict().items()
    }
    settings["base_model_name_or_path"] = base
    settings["inference_mode"] = True
    (folder / ADAPTER_CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True, default=str))


def save_model(model: Any, folder: Path, base: Path, dtype: torch.dtype) -> None:
    """Write a whole model in `dtype`; all that is not weights is the base's own, byte for byte.

    Raises:
        InputError: a number in it is not finite.
    """
    _finite(model.parameters())
    # In place: a copy of all weights may not fit beside them.
    model.to(dtype).save_pretrained(folder)
    for path in sorted(base.iterdir()):
        if path.is_file() and path.name.endswith(WANTED) and ".safetensors" not in path.name:
            shutil.copyfile(path, folder / path.name)


def _unfit(problem: str) -> InputError:
    message = (
        f"the model that serves today cannot be compared with: {problem}; it must be an adapter to, or a full "
        "fine-tune of, spec.baseModel.uri"
    )
    return InputError("StableUnfit", "spec.baseModel.uri", message)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, not a model."""
    return (folder / ADAPTER_CONFIG).exists()


def fit(folder: Path, base: Any) -> None:
    """Check that what lies in a folder belongs to a base model of this shape.

    Args:
        folder: what `save` of a learner wrote.
        base: the base model, without an adapter.

    Raises:
        InputError: StableUnfit.
    """
    if not is_adapter(folder) and not (folder / CONFIG).exists():
        raise _unfit(f"its folder has neither {ADAPTER_CONFIG} nor {CONFIG}")
    try:
        settings = json.loads((folder / (ADAPTER_CONFIG if is_adapter(folder) else CONFIG)).read_text())
        if not is_adapter(folder):
            other = [name for name in _SHAPE if settings.get(name) != getattr(base.config, name, None)]
            if other:
                raise _unfit(f"its {other[0]} is {settings.get(other[0])}, the base's {getattr(base.config, other[0])}")
            if not list(folder.glob("*.safetensors")):
                raise _unfit("its folder has no safetensors")
            return
        if settings.get("peft_type") != "LORA":
            raise _unfit(f"its adapter is of the type {settings.get('peft_type')}, not LORA")
        with safe_open(folder / ADAPTER, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        raise _unfit(f"its files cannot be read ({type(error).__name__})") from error
    _fit_shapes(shapes, dict(base.named_modules()))


def _fit_shapes(shapes: dict[str, list[int]], modules: dict[str, Any]) -> None:
    for name, shape in sorted(shapes.items()):
        path, found, matrix = name.removeprefix(_PREFIX).rpartition(".lora_")
        module = modules.get(path)
        if not found or module is None:
            raise _unfit(f"the base has no place for its {name}")
        # A linear layer says both even when its weights are packed in 4 bits; for others PEFT will tell.
        sizes = (getattr(module, "in_features", None), getattr(module, "out_features", None))
        if None in sizes:
            continue
        size, wanted = (shape[1], sizes[0]) if matrix.startswith("A") else (shape[0], sizes[1])
        if size != wanted:
            raise _unfit(f"its {name} is for a layer of {size} features, and the base's has {wanted}")
