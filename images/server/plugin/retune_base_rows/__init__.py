"""A plugin of vLLM, for CPUs: the base answers as itself also in a batch with requests for adapters.

vLLM marks a row that is for no adapter by the index -1. Its kernels for GPUs pass over such rows; those for CPUs take
the last slot for them, so that the base speaks with whatever adapter lies there. Here these rows become zeros before an
adapter's matrices see them, and what is added to the base's own output is nothing.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Kernel = Callable[..., None]

NAMES = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")  # the sgmv_ ones call these


def register() -> None:
    """Wrap the kernels, once; vLLM calls this in each of its processes before it makes a model."""
    from vllm.lora.ops import torch_ops
    from vllm.lora.ops.torch_ops import lora_ops

    user = sys.modules.get("vllm.lora.punica_wrapper.punica_cpu")
    for name in NAMES:
        kernel = getattr(lora_ops, name)
        if not hasattr(kernel, "__wrapped__"):
            wrapped = _without_base(kernel)
            for module in (lora_ops, torch_ops, *([user] if user else [])):
                setattr(module, name, wrapped)


def _without_base(kernel: Kernel) -> Kernel:
    @functools.wraps(kernel)
    def call(inputs: Tensor, weights: Tensor, output: Tensor, indices: Tensor, *rest: object, **more: object) -> None:
        of_an_adapter = (indices >= 0).to(inputs.dtype).unsqueeze(1)
        kernel(inputs * of_an_adapter, weights, output, indices, *rest, **more)

    return call
