"""A real model server without a model to download: llama.cpp's own, with a tiny random model, as a child process.

It speaks OpenAI's chat completions, Anthropic's messages, and says by `/slots` what it is working on. What the model
says is words without a meaning, some thousand a second, as many as a request asks for: it never ends by itself.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import anyio
import httpx

START_TIMEOUT_S: Final = 60.0
WAIT_S: Final = 10.0
NAME: Final = "tiny"
SLOTS: Final = 4
CONTEXT_TOKENS: Final = 16384
"""Of one slot."""

_ROOT: Final = Path(__file__).resolve().parents[2]
_WORDS: Final = (
    *(
        " the",
        " a",
        " to",
        " of",
        " and",
        " is",
        " in",
        " it",
        " you",
        " that",
        "hello",
        "world",
        "yes",
        "no",
        ".",
        " ",
    ),
    *("<|im_start|>", "<|im_end|>"),
)
_TEMPLATE: Final = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_WIDTH, _HEADS, _KEYS, _LAYERS, _INNER = 64, 4, 2, 2, 128


class Llama:
    """One model server. The same port is used again after it was killed."""

    def __init__(self, folder: Path) -> None:
        self._model = folder / "tiny.gguf"
        self._log = folder / "llama.log"
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self._spawn()
        with anyio.fail_after(START_TIMEOUT_S):
            while not await self._is_up():  # noqa: ASYNC110 - it is another process, it sets no event of ours
                await anyio.sleep(0.02)

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.llama", str(self._model), str(self._port)],
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _is_up(self) -> bool:
        try:
            async with httpx.AsyncClient(base_url=self.url, timeout=WAIT_S) as client:
                return (await client.get("/health")).status_code == 200
        except httpx.TransportError:
            return False

    async def slots(self) -> list[dict[str, Any]]:
        """Return what each slot does."""
        async with httpx.AsyncClient(base_url=self.url, timeout=WAIT_S) as client:
            found: list[dict[str, Any]] = (await client.get("/slots")).json()
            return found

    async def busy(self) -> int:
        """Return how many slots work on an answer."""
        return sum(slot["is_processing"] for slot in await self.slots())

    def kill(self) -> None:
        """End it at once, in the middle of whatever it says."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_S)

    def freeze(self) -> None:
        """Let it hold its connections and say nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def write_model(path: Path) -> None:
    """Write a random Llama of 450 KB that says words, not bytes."""
    import gguf
    import numpy as np

    random = np.random.default_rng(0)
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256))]
    tokens += [word.replace(" ", "\u2581").encode() for word in _WORDS]
    size = len(tokens)
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, tokens)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * 0.3).astype(np.float32))

    add("token_embd.weight", size, _WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(_WIDTH, np.float32))
    out = (random.standard_normal((size, _WIDTH)) * 0.3).astype(np.float32)
    out[:259] = out[-2:] = 0
    out[259:-2] *= 4  # only words win: it never ends by itself
    writer.add_tensor("output.weight", out)
    for layer in range(_LAYERS):
        prefix = f"blk.{layer}."
        writer.add_tensor(prefix + "attn_norm.weight", np.ones(_WIDTH, np.float32))
        writer.add_tensor(prefix + "ffn_norm.weight", np.ones(_WIDTH, np.float32))
        add(prefix + "attn_q.weight", _WIDTH, _WIDTH)
        add(prefix + "attn_k.weight", _KEYS * _WIDTH // _HEADS, _WIDTH)
        add(prefix + "attn_v.weight", _KEYS * _WIDTH // _HEADS, _WIDTH)
        add(prefix + "attn_output.weight", _WIDTH, _WIDTH)
        add(prefix + "ffn_gate.weight", _INNER, _WIDTH)
        add(prefix + "ffn_up.weight", _INNER, _WIDTH)
        add(prefix + "ffn_down.weight", _WIDTH, _INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, tokens: list[bytes]) -> None:
    plain, size = len(_WORDS) - 2, len(tokens)
    writer.add_name("tiny-random")
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KEYS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_vocab_size(size)
    writer.add_file_type(0)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 3 + [-100.0] * 256 + [-float(rank) for rank in range(len(_WORDS))])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * plain + [3, 3])  # unknown, control, byte, normal, control
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(size - 1)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(_TEMPLATE)


def _serve(model: Path, port: int) -> None:
    import xllamacpp  # type: ignore[import-untyped]  # it has no types

    if not model.exists():
        write_model(model)
    settings = xllamacpp.CommonParams()
    settings.model.path = str(model)
    settings.model_alias = {NAME}
    settings.n_ctx = SLOTS * CONTEXT_TOKENS
    settings.n_parallel = SLOTS
    settings.hostnames = ["127.0.0.1"]
    settings.port = port
    settings.cpuparams.n_threads = 1
    settings.warmup = False
    settings.use_jinja = True
    settings.endpoint_slots = True
    server = xllamacpp.Server(settings)  # serves in threads of its own, as long as this lives
    signal.pause()
    del server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
