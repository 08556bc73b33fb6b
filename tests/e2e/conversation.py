"""What a tap says to a model server and hears from it, as a script: held with vLLM in its image, and with the stand-in.

Run as a program it makes a tiny model, starts vLLM on it, and prints the transcript. Only the standard library at the
top: it runs in the server's image, which has no tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PORT = 8001
START = 300.0
MARK = "TRANSCRIPT "
BESIDE = "BESIDE "
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
HELLO = [{"role": "user", "content": "Hello"}]
FEW = {"max_tokens": 4, "temperature": 0}


def script(folder: Path) -> list[tuple[str, int, str, str, Any]]:
    """Each step: what it is about, the status it must have, method, path, body (bytes as they are, else JSON)."""

    def loading(name: str, where: str) -> dict[str, str]:
        return {"lora_name": name, "lora_path": str(folder / where)}

    def chat(model: str, **more: Any) -> dict[str, Any]:
        return {"model": model, "messages": HELLO, **FEW, **more}

    def text(model: str, **more: Any) -> dict[str, Any]:
        return {"model": model, "prompt": "Hello to all who are here", **FEW, **more}

    usage = {"stream": True, "stream_options": {"include_usage": True}}
    return [
        ("health", 200, "GET", "/health", None),
        ("models at the start", 200, "GET", "/v1/models", None),
        ("one model", 404, "GET", "/v1/models/base", None),
        ("load", 200, "POST", LOAD, loading("triage", "good")),
        ("load again", 400, "POST", LOAD, loading("triage", "good")),
        ("load under the base's name", 400, "POST", LOAD, loading("base", "good")),
        ("load without a name", 400, "POST", LOAD, {"lora_name": "", "lora_path": ""}),
        ("load what is not there", 404, "POST", LOAD, loading("absent", "absent")),
        ("load what is damaged", 500, "POST", LOAD, loading("damaged", "damaged")),
        ("load a rank too high", 500, "POST", LOAD, loading("wide", "wide")),
        ("load one of another base", 200, "POST", LOAD, loading("another", "another")),
        ("models after loading", 200, "GET", "/v1/models", None),
        ("chat with the base", 200, "POST", CHAT, chat("base")),
        ("chat with the adapter", 200, "POST", CHAT, chat("triage")),
        ("chat in a stream", 200, "POST", CHAT, chat("triage", stream=True)),
        ("chat in a stream with usage", 200, "POST", CHAT, chat("triage", **usage)),
        ("text of the base", 200, "POST", TEXT, text("base")),
        ("text of the adapter in a stream", 200, "POST", TEXT, text("triage", stream=True)),
        ("text without a model", 200, "POST", TEXT, {"prompt": "Hello", **FEW}),
        ("a probe of the base", 200, "POST", TEXT, text("base", logprobs=5)),
        ("a probe of the adapter", 200, "POST", TEXT, text("triage", logprobs=5)),
        ("a probe of one of another base", 200, "POST", TEXT, text("another", logprobs=5)),
        ("chat with an unknown model", 404, "POST", CHAT, chat("unknown")),
        ("chat with an unknown model in a stream", 404, "POST", CHAT, chat("unknown", stream=True)),
        ("text of an unknown model", 404, "POST", TEXT, text("unknown")),
        ("bad JSON", 400, "POST", CHAT, b'{"model": "base", '),
        ("no messages", 400, "POST", CHAT, {"model": "base", **FEW}),
        ("a number that is none", 400, "POST", CHAT, {**chat("base"), "max_tokens": "many"}),
        ("a temperature below zero", 400, "POST", CHAT, {**chat("base"), "temperature": -1}),
        ("a prompt too long", 400, "POST", TEXT, {**text("base"), "prompt": "hello " * 2000}),
        ("unload", 200, "POST", UNLOAD, {"lora_name": "triage"}),
        ("unload again", 404, "POST", UNLOAD, {"lora_name": "triage"}),
        ("chat with what was unloaded", 404, "POST", CHAT, chat("triage")),
        ("alive at the end", 200, "GET", "/health", None),
    ]


def hold(address: str, folder: Path) -> list[dict[str, Any]]:
    """The transcript: for each step its name, the status it must have and had, the content type, and the body."""
    told = []
    for name, wanted, method, path, body in script(folder):
        status, kind, content = _ask(address + path, method, body)
        told.append({"step": name, "wanted": wanted, "status": status, "type": kind, "body": _read(kind, content)})
    return told


def beside(address: str, folder: Path) -> list[dict[str, Any]]:
    """The bodies of one probe of the base: alone, and in the same batches as requests for adapters in every slot."""
    for name in ("left", "right"):  # the server has two slots
        _ask(address + LOAD, "POST", {"lora_name": name, "lora_path": str(folder / "good")})
    probe = {"model": "base", "prompt": "Hello to all who are here", **FEW, "logprobs": 5}

    def told() -> dict[str, Any]:
        return dict(json.loads(_ask(address + TEXT, "POST", probe)[2]))

    alone = told()
    long = {"prompt": "Hello", "max_tokens": 400, "ignore_eos": True, "temperature": 0}
    with ThreadPoolExecutor(2) as others:
        asked = [others.submit(_ask, address + TEXT, "POST", {"model": m, **long}) for m in ("left", "right")]
        found = [alone]
        while not any(other.done() for other in asked):
            found.append(told())
    # What was asked last may have been alone again.
    return found[:-1]


def _ask(url: str, method: str, body: Any) -> tuple[int, str, bytes]:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, _kind(answer), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _kind(error), error.read()


def _kind(answer: Any) -> str:
    return (answer.headers.get("content-type") or "").partition(";")[0]


def _read(kind: str, content: bytes) -> Any:
    """JSON, or the list of a stream's events (each JSON, the last one `[DONE]`), or text."""
    text = content.decode()
    if kind == "application/json":
        return json.loads(text)
    if kind == "text/event-stream":
        events = [event.removeprefix("data: ") for event in text.strip().split("\n\n")]
        return [event if event == "[DONE]" else json.loads(event) for event in events]
    return text


def prepare(folder: Path) -> None:
    """A tiny Llama with random weights, and adapters for it: good, of another base, too wide, damaged."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    bpe.train_from_iterator(["Hello hello"], trainer)
    size = bpe.get_vocab_size()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
    tokenizer.save_pretrained(folder / "base")
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder / "base")

    def adapter(name: str, *, rank: int = 8, first: int = 0) -> None:
        target = folder / name
        target.mkdir()
        weights = {}
        for layer in (first, first + 1):
            key = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
            weights[f"{key}.lora_A.weight"] = torch.randn(rank, 128)
            weights[f"{key}.lora_B.weight"] = torch.randn(128, rank)
        save_file(weights, target / "adapter_model.safetensors")
        settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none"}
        (target / "adapter_config.json").write_text(json.dumps({**settings, "task_type": "CAUSAL_LM"}))

    adapter("good")
    adapter("another", first=30)
    adapter("wide", rank=32)
    adapter("damaged")
    (folder / "damaged" / "adapter_model.safetensors").write_bytes(b"\xff" * 100)


def main() -> int:
    """Hold the conversation with vLLM; 0 once the transcript is printed."""
    folder = Path("/tmp/models")
    prepare(folder)
    address = f"http://127.0.0.1:{PORT}"
    # As the operator starts it, and then what a job's spec.serving.args say for a CPU.
    command = [
        *("python3", "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "base")),
        *("--served-model-name", "base", "--host", "127.0.0.1", "--port", str(PORT), "--enable-lora"),
        *("--max-lora-rank", "16", "--max-loras", "2", "--max-cpu-loras", "8"),
        *("--dtype", "bfloat16", "--max-model-len", "512", "--max-num-seqs", "8", "--enforce-eager"),
    ]
    log = Path("/tmp/server.log")
    begun = time.monotonic()
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as server:
        try:
            while not _healthy(address):
                if server.poll() is not None or time.monotonic() - begun > START:
                    print(log.read_text()[-8000:])
                    return 1
                time.sleep(0.5)
            print(f"ready after {time.monotonic() - begun:.0f} s")
            print(MARK + json.dumps(hold(address, folder)))
            print(BESIDE + json.dumps(beside(address, folder)))
        finally:
            server.terminate()
    return 0


def _healthy(address: str) -> bool:
    try:
        return _ask(f"{address}/health", "GET", None)[0] == 200
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
