"""The three ways of changing a model: what each loads, trains, and keeps its numbers in.

LoRA: frozen weights, an adapter in fp32. QLoRA: the same on weights of 4 bits (NF4, quantised twice, computed in bf16),
for a GPU that cannot hold 16. Full: every weight, in fp32 while it trains and in the base's own type when it is saved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from retune_stores.errors import InputError
from retune_trainer.config import Lora, Method
from retune_trainer.learning import model

# Weights, gradients and AdamW's two moments, each in fp32: bytes for every weight of a full fine-tune.
FULL_BYTES = 16
# The share of a GPU's memory that these may take; activations need the rest.
FULL_SHARE = 0.7


def check(method: Method, where: str) -> None:
    """Refuse at once what cannot work here.

    Raises:
        InputError: QLoRA without a GPU.
    """
    if method.type == "QLoRA" and not where.startswith("cuda"):
        message = (
            "QLoRA computes with 4-bit weights, which needs a CUDA GPU, and this run has none; set "
            "spec.training.gpusPerNode to 1 or spec.method.type to LoRA"
        )
        raise InputError("MethodNeedsGpu", "spec.method.type", message)


def _four_bits() -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def load(method: Method, folder: Path, where: str, *, train: bool) -> tuple[Any, Any]:
    """The base model as the method wants it, to train or to be asked, and its tokenizer.

    Raises:
        InputError: it cannot be loaded.
    """
    quantization = _four_bits() if method.type == "QLoRA" else None
    dtype = "float32" if method.type == "Full" and train else None
    loaded, tokenizer = model.load(folder, where, dtype=dtype, quantization=quantization)
    # What was loaded in 4 bits is frozen, too: gradients belong to the adapter alone.
    if quantization is not None:
        loaded.requires_grad_(requires_grad=False)
    return loaded, tokenizer


def adapter(lora: Lora) -> LoraConfig:
    """PEFT's form of the adapter's shape."""
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if lora.target_modules == ["all-linear"] else lora.target_modules,
        task_type="CAUSAL_LM",
    )


def optimizer(method: Method, weights: int, memory: int | None) -> str:
    """AdamW's form, by transformers' name for it.

    Moments of 8 bits where those of 32 would leave no room on the GPU for anything else: only a full fine-tune has
    so many. `memory` is the GPU's, in bytes; None without one.
    """
    if method.type == "Full" and memory is not None and weights * FULL_BYTES > FULL_SHARE * memory:
        return "adamw_bnb_8bit"
    return "adamw_torch_fused"
