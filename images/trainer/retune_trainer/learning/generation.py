"""Answers: greedy, or the best of a beam search, in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from retune_trainer.learning.memory import batches

LONGEST_ANSWER = 512


def _contiguous(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A hook before the output layer.

    It is given the last position of each row, a view with gaps. For such a view and frozen weights torch's matmul on a
    CPU copies the whole weight matrix once for every row of the batch: gigabytes, and most of the time.
    """
    del module
    return (inputs[0].contiguous(), *inputs[1:])


@contextmanager
def _quick(model: Any) -> Iterator[None]:
    hook = model.get_output_embeddings().register_forward_pre_hook(_contiguous)
    try:
        yield
    finally:
        hook.remove()


def answer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    *,
    best: int = 1,
    max_new_tokens: int,
    max_batch_tokens: int,
    on_answers: Callable[[int], None],
) -> list[tuple[str, ...]]:
    """The model's `best` answers to each prompt, in the prompts' order, without special tokens.

    The first is the greedy one, whatever `best` is: a metric that looks at more must not change what the others see.
    After it come the best of a beam search that say something else. `on_answers` is called with the number of prompts
    after each batch.
    """
    model.eval()
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    asked = [prompt or [first] for prompt in prompts]
    new = min(max_new_tokens, LONGEST_ANSWER)
    answers: list[tuple[str, ...]] = [()] * len(asked)

    def work(rows: list[int]) -> None:
        given = [asked[row] for row in rows]
        greedy = _generate(model, tokenizer, given, new, 1)
        # A beam search finds the greedy answer again: one more beam than answers, and enough are left.
        beams = _generate(model, tokenizer, given, new, best + 1) if best > 1 else [[] for _ in rows]
        for row, found, more in zip(rows, greedy, beams, strict=True):
            answers[row] = tuple(dict.fromkeys([*found, *more]))[:best]
        on_answers(len(rows))

    with _quick(model), torch.inference_mode():
        batches([(len(prompt) + new) * (best + 1 if best > 1 else 1) for prompt in asked], max_batch_tokens, work)
    return answers


def _generate(model: Any, tokenizer: Any, asked: list[list[int]], new: int, beams: int) -> list[list[str]]:
    """For each prompt its answers, the best first: one without beams, else as many as beams."""
    width = max(map(len, asked))
    ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(row)) + row for row in asked])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in asked])
    out = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=new,
        do_sample=False,
        num_beams=beams,
        num_return_sequences=beams,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    texts = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
    return [texts[at : at + beams] for at in range(0, len(texts), beams)]
