"""Examples that share a row must not see each other. How that is kept, and whether a model keeps it.

On a GPU, torch's variable-length kernel takes the examples' bounds and computes nothing between them. Everywhere else
transformers builds a block-diagonal mask from positions that begin again.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from retune_trainer.learning.collate import packed, padded
from retune_trainer.learning.encoding import Encoded

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # before torch 2.10
    varlen_attn = None

NAME = "retune_varlen"
# Logits of the same tokens beside other neighbours: more than this, of the largest, is no rounding.
LEAK = 0.01
# The same tokens alone in a row, through other kernels in 16 bits.
ROUNDING = 0.1


def _kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    longest: int | None,
    *,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """Causal attention within bounds; shapes (tokens, heads, size). Younger torch knows more by itself."""
    known = inspect.signature(varlen_attn).parameters
    arguments: dict[str, Any] = {}
    if "window_size" in known:
        arguments["window_size"] = (window - 1 if window else -1, 0)
    else:
        arguments["is_causal"] = True
    if "scale" in known:
        arguments["scale"] = scaling
    elif scaling is not None:
        query = query * (scaling * query.shape[-1] ** 0.5)
    times = query.shape[1] // key.shape[1]
    if "enable_gqa" in known:
        arguments["enable_gqa"] = times > 1
    elif times > 1:
        key, value = (tensor.repeat_interleave(times, dim=1) for tensor in (key, value))
    found: torch.Tensor = varlen_attn(query, key, value, bounds, bounds, longest, longest, **arguments)
    return found


def _forward(  # noqa: PLR0917 - transformers calls it so
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in the form that transformers calls: shapes (1, heads, tokens, size) in, (1, tokens, heads, size) out.

    Without bounds it is transformers' own: for generation, and for models that do not pass the bounds on.
    """
    if cu_seq_lens_q is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **rest
        )
        return output, None
    wanted = query.dtype
    kernel = wanted if wanted in {torch.float16, torch.bfloat16} else torch.bfloat16
    q, k, v = (tensor[0].transpose(0, 1).to(kernel) for tensor in (query, key, value))
    output = _kernel(q, k, v, cu_seq_lens_q, max_length_q, scaling=scaling, window=sliding_window)
    return output.to(wanted).unsqueeze(0), None


def _mask(*args: Any, attention_mask: torch.Tensor | None = None, **rest: Any) -> torch.Tensor | None:
    """No mask where there is no padding: the kernel has the bounds."""
    return None if attention_mask is None else sdpa_mask(*args, attention_mask=attention_mask, **rest)


AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, _mask)


@contextmanager
def chosen(model: PreTrainedModel, *, varlen: bool) -> Iterator[None]:
    """Within, the model attends by the variable-length kernel, if wanted and there is one."""
    before = model.config._attn_implementation  # noqa: SLF001 - there is no public way to read it
    use = varlen and varlen_attn is not None and before == "sdpa" and model.device.type == "cuda"
    if use:
        model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        if use:
            model.set_attn_implementation(before)


def isolated(model: Any) -> bool:
    """Whether this model keeps examples that share a row apart. Asked of the model itself: architectures differ.

    The second example's logits must not change with the first, and be those that it has alone.
    """
    size = min(1000, model.get_input_embeddings().num_embeddings)
    first, other = ([(7 * at + start) % size for at in range(9)] for start in (1, 4))
    second = Encoded([(5 * at + 2) % size for at in range(6)], [3 % size, 6 % size])

    def logits(rows: list[Encoded], *, alone: bool = False) -> torch.Tensor:
        batch = (padded(rows, 0) if alone else packed(rows)).to(model.device)
        with torch.no_grad():
            found: torch.Tensor = model(**batch.inputs, use_cache=False).logits[0, -len(second) :]
        return found.float()

    training = model.training
    model.eval()
    try:
        own = logits([second], alone=True)
        beside = [logits([Encoded(ids, []), second]) for ids in (first, other)]
    except (TypeError, RuntimeError, ValueError):
        return False
    finally:
        model.train(training)
    scale = float(own.abs().max())
    leak = float((beside[0] - beside[1]).abs().max())
    off = float((beside[0] - own).abs().max())
    return leak <= LEAK * scale and off <= ROUNDING * scale
