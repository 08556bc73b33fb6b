"""From examples to token ids. Knows tokenizers, not models.

How a model is spoken to is decided here and nowhere else: conversations through the tokenizer's chat template, all else
verbatim; an answer ends with the tokenizer's end-of-sequence token. The loss is on the answer, and on that token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retune_stores.errors import InputError
from retune_trainer.data import Example


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example in tokens."""

    prompt: list[int]
    answer: list[int]

    @property
    def input_ids(self) -> list[int]:
        """Question and answer."""
        return self.prompt + self.answer

    @property
    def scored(self) -> int:
        """How many tokens of the answer something comes before: of an answer to nothing, the first cannot be told."""
        return len(self.answer) if self.prompt else len(self.answer) - 1

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


class Encoder:
    """Encodes for one tokenizer."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        """Refuse a tokenizer without an end: a model that never learns to stop is of no use."""
        if tokenizer.eos_token_id is None:
            message = "its tokenizer names no eos_token; add one to tokenizer_config.json"
            raise InputError("BaseModelInvalid", "spec.baseModel.uri", message)
        self._tokenizer = tokenizer
        self._eos: int = tokenizer.eos_token_id
        self._max = max_length
        self.shortened = 0

    def _ids(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        if not texts:
            return []
        ids: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=special)["input_ids"]
        # Some tokenizers close every text; a question stays open.
        return [row[:-1] if row and row[-1] == self._eos else row for row in ids]

    def _texts(self, example: Example) -> tuple[str, str]:
        if example.messages is None:
            return example.prompt, example.completion
        if not self._tokenizer.chat_template:
            message = (
                "the base model has no chat template, so it cannot be asked in Messages; "
                "use an instruction-tuned model or the format PromptCompletion"
            )
            raise InputError("DatasetWrongFormat", "spec.dataset.format", message)
        asked = [{"role": role, "content": text} for role, text in example.messages]
        whole = [*asked, {"role": "assistant", "content": example.completion}]
        try:
            render = self._tokenizer.apply_chat_template
            prompt = render(asked, tokenize=False, add_generation_prompt=True)
            full = render(whole, tokenize=False)
        except Exception as error:  # noqa: BLE001 - a template is a program of the model's author and may raise anything
            message = f"the base model's chat template refuses a conversation: {error}"
            raise InputError("DatasetWrongFormat", "spec.dataset.format", message) from None
        end = self._tokenizer.eos_token
        answer = full[len(prompt) :] if full.startswith(prompt) else example.completion
        # The template's own end of turn is the tokenizer's, added to every answer below; nothing belongs behind it.
        return prompt, answer.rpartition(end)[0] if end in answer else answer

    def __call__(self, examples: Sequence[Example]) -> list[Encoded]:
        """Encode, each to at most the maximum length: a long question loses its beginning, a long answer its end."""
        pairs = [self._texts(example) for example in examples]
        # A chat template writes its own beginning of sequence.
        templated = bool(examples) and examples[0].messages is not None
        prompts = self._ids([prompt for prompt, _ in pairs], special=not templated)
        answers = self._ids([answer for _, answer in pairs], special=False)
        return [self._fit(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]

    def _fit(self, prompt: list[int], answer: list[int]) -> Encoded:
        answer = [*answer, self._eos]
        if len(prompt) + len(answer) > self._max:
            self.shortened += 1
            answer = answer[: self._max]
            room = self._max - len(answer)
            prompt = prompt[len(prompt) - room :] if room else []
        return Encoded(prompt, answer)
