"""Greedy answers, in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

LONGEST_ANSWER = 512


def _contiguous(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A hook before the output layer.

    It is given the last position of each row, a view with gaps. For such a view and frozen weights torch's matmul on a
    CPU copies the whole weight matrix once for every row of the batch: gigabytes, and most of the time.
    """
    del module
    return (inputs[0].contiguous(), *inputs[1:])


def answer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    max_batch_tokens: int,
    on_answers: Callable[[int], None],
) -> list[str]:
    """The model's answer to each prompt, in the prompts' order, without special tokens.

    `on_answers` is called with their number after each batch.
    """
    model.eval()
    hook = model.get_output_embeddings().register_forward_pre_hook(_contiguous)
    try:
        return _answer(
            model,
            tokenizer,
            prompts,
            new=min(max_new_tokens, LONGEST_ANSWER),
            max_batch_tokens=max_batch_tokens,
            on_answers=on_answers,
        )
    finally:
        hook.remove()


def _answer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    *,
    new: int,
    max_batch_tokens: int,
    on_answers: Callable[[int], None],
) -> list[str]:
    import torch

    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    answers = [""] * len(prompts)
    # The longest first: if memory does not suffice, that shows at once.
    waiting = sorted(range(len(prompts)), key=lambda row: (-len(prompts[row]), row))
    while waiting:
        size = max(1, max_batch_tokens // (len(prompts[waiting[0]]) + new))
        rows, waiting = waiting[:size], waiting[size:]
        asked = [prompts[row] or [first] for row in rows]
        width = max(map(len, asked))
        ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(row)) + row for row in asked])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in asked])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=new,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        texts = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        for row, text in zip(rows, texts, strict=True):
            answers[row] = text
        on_answers(len(rows))
    return answers
