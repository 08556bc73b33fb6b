"""Fewer passes over memory while a LoRA trains on a GPU. The same arithmetic, in the weights' own 16 bits.

On a GPU a LoRA step is bound by matrix products only as long as nothing else reads activations too often. PEFT's layer
copies its input to the adapter's fp32 and back, and scales and adds in passes of their own; a model's RMSNorm is half a
dozen kernels in fp32. Here the adapter stays fp32 for the optimizer alone, its product is added within the
matrix product's own kernel, and the norm is torch's fused one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLayer
from torch import nn

# Fused and plain norm may differ by a rounding of 16 bits.
SAME = 2e-2


class LoraProduct(torch.autograd.Function):  # type: ignore[misc]
    """y = x Wᵀ + bias + s (x Aᵀ) Bᵀ for a frozen W (out, in), with A (r, in) and B (out, r), after Hu et al. 2021.

    Keeps x and x Aᵀ for the way back: dA = s (dy B)ᵀ x, dB = s dyᵀ (x Aᵀ), dx = dy W + s (dy B) A.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - torch calls it so
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Shapes: x (…, in) → (…, out)."""
        flat = x.reshape(-1, x.shape[-1])
        inner = flat @ a.to(x.dtype).t()
        y = nn.functional.linear(flat, weight, bias)
        y.addmm_(inner, b.to(x.dtype).t(), alpha=scaling)
        ctx.save_for_backward(flat, inner, weight, a, b)
        ctx.scaling = scaling
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients for x, A and B; W and its bias are frozen."""
        x, inner, weight, a, b = ctx.saved_tensors
        dy = grads[0].reshape(-1, grads[0].shape[-1])
        back = (dy @ b.to(dy.dtype)).mul_(ctx.scaling)
        da = (back.t() @ x).to(a.dtype)
        db = (dy.t() @ inner).to(b.dtype).mul_(ctx.scaling)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy @ weight
            dx.addmm_(back, a.to(dy.dtype))
            dx = dx.view(*grads[0].shape[:-1], -1)
        return dx, None, None, da, db, None


def _plain(layer: Any) -> bool:
    """Whether a layer is LoRA and nothing else: one adapter on a frozen matrix, no dropout, no variant."""
    return (
        type(layer) is LoraLayer
        and type(layer.base_layer) is nn.Linear
        and not layer.base_layer.weight.requires_grad
        and list(layer.lora_A) == ["default"]
        and isinstance(layer.lora_dropout["default"], nn.Identity)
        and not layer.lora_variant
        and layer.lora_A["default"].bias is None
        and layer.lora_B["default"].bias is None
    )


def _product(layer: Any) -> Any:
    base, a, b = layer.base_layer, layer.lora_A["default"], layer.lora_B["default"]
    scaling = layer.scaling["default"]

    def forward(x: torch.Tensor) -> torch.Tensor:
        if layer.disable_adapters or layer.merged:
            return layer.base_layer(x)
        return LoraProduct.apply(x, base.weight, base.bias, a.weight, b.weight, scaling)

    return forward


def _norm(layer: Any) -> Any:
    """Torch's fused RMSNorm in place of a model's own, if it says the same; else None."""
    epsilon, weight = getattr(layer, "variance_epsilon", None), getattr(layer, "weight", None)
    if epsilon is None or weight is None or weight.requires_grad or not type(layer).__name__.endswith("RMSNorm"):
        return None

    def forward(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.rms_norm(x, weight.shape, weight, epsilon)

    probe = torch.linspace(-3, 3, weight.numel() * 2, device=weight.device, dtype=weight.dtype).view(2, -1)
    with torch.no_grad():
        same = torch.allclose(forward(probe).float(), layer(probe).float(), rtol=SAME, atol=SAME)
    return forward if same else None


@contextmanager
def layers(model: Any, *, use: bool) -> Iterator[int]:
    """Within, the model computes by the fused layers, if wanted; gives how many there are."""
    replaced = []
    for layer in model.modules() if use else ():
        forward = _product(layer) if _plain(layer) else _norm(layer)
        if forward is not None:
            layer.forward = forward
            replaced.append(layer)
    try:
        yield len(replaced)
    finally:
        for layer in replaced:
            del layer.forward
