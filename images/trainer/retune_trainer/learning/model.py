"""Loads a base model from disk: safetensors only, no code of the model's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from retune_stores import Store
from retune_stores.errors import InputError
from retune_trainer.log import say

# What loading needs; other weights (GGUF, pickles, ONNX) may lie beside it and stay there.
WANTED = (".json", ".safetensors", ".txt", ".model", ".jinja")


def download(store: Store, folder: Path) -> None:
    """Bring the model here."""
    files = [entry for entry in store.entries() if entry.path.endswith(WANTED) and "/" not in entry.path]
    for entry in files:
        store.download(entry.path, folder / entry.path)
    say("base model downloaded", files=len(files), bytes=sum(entry.size for entry in files))


def device() -> str:
    """`cuda` where there is one, else `cpu`; RETUNE_DEVICE overrides."""
    import torch

    return os.environ.get("RETUNE_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


def _quiet() -> None:
    """No bars, and every word of the library through our own log."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.disable_default_handler()
    logging.enable_propagation()
    logging.set_verbosity_warning()


def load(folder: Path, where: str, *, dtype: str | None = None, quantization: Any = None) -> tuple[Any, Any]:
    """The model and its tokenizer.

    Weights get the type named (`float32`); else they keep their own on a CPU (bf16 is faster there than fp32, and
    halves the memory), and a GPU gets bf16. `quantization` is transformers' own configuration of it.

    Raises:
        InputError: it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _quiet()
    on_gpu = where.startswith("cuda")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype) if dtype else torch.bfloat16 if on_gpu else "auto",
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            **({"quantization_config": quantization, "device_map": {"": where}} if quantization else {}),
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        problem = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        message = f"the base model cannot be loaded: {problem.replace(str(folder), '.')}"
        raise InputError("BaseModelInvalid", "spec.baseModel.uri", message) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model if quantization else model.to(where), tokenizer
