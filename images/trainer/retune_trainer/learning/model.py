"""Loads a base model from disk: safetensors only, no code of the model's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from retune_trainer.errors import InputError
from retune_trainer.log import say
from retune_trainer.stores import Store

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


def load(folder: Path, where: str) -> tuple[Any, Any]:
    """The model and its tokenizer.

    Weights keep their type on a CPU (bf16 is faster there than fp32, and halves the memory); a GPU gets bf16.

    Raises:
        InputError: it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _quiet()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.bfloat16 if where == "cuda" else "auto",
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        problem = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        message = f"the base model cannot be loaded: {problem.replace(str(folder), '.')}"
        raise InputError("BaseModelInvalid", "spec.baseModel.uri", message) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(where), tokenizer
