"""Writes a tiny model with random weights that llama.cpp loads like any other: `tiny_gguf.py OUT.gguf`.

It generates random printable ASCII and never ends by itself: the embeddings of control tokens and of tokens with other
bytes are zero in the output layer, so they are never among the likeliest. An answer therefore has exactly the
requested `max_tokens`. Nothing is downloaded; the vocabulary is trained on Python's help texts.
"""

import builtins
import json
import sys

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

NAME = "tiny-random-llama"
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY, WIDTH, LAYERS, HEADS, CONTEXT = 512, 64, 2, 4, 8192
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens by id, and the merges, of a byte-level BPE that is trained on this interpreter's own help texts."""
    texts = [str(o.__doc__) for o in vars(builtins).values() if getattr(o, "__doc__", None)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=CONTROL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    by_id = sorted((number, token) for token, number in tokenizer.get_vocab().items())
    state = json.loads(tokenizer.to_str())
    return [token for _, token in by_id], [" ".join(pair) for pair in state["model"]["merges"]]


def printable(token: str) -> bool:
    """In the byte-level alphabet, printable ASCII represents itself, `Ġ` a space, `Ċ` a newline."""
    return token not in CONTROL and all("!" <= c <= "~" or c in "ĠĊ" for c in token)


def write(path: str) -> None:
    tokens, merges = vocabulary()
    random = np.random.default_rng(7)

    def weights(*shape: int, scale: float = 0.08) -> np.ndarray:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    out = gguf.GGUFWriter(path, "llama")
    out.add_name(NAME)
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(2 * WIDTH)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_vocab_size(len(tokens))
    out.add_file_type(gguf.LlamaFileType.ALL_F32)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([gguf.TokenType.CONTROL if t in CONTROL else gguf.TokenType.NORMAL for t in tokens])
    out.add_token_merges(merges)
    out.add_bos_token_id(tokens.index("<|endoftext|>"))
    out.add_eos_token_id(tokens.index("<|im_end|>"))
    out.add_add_bos_token(False)
    out.add_chat_template(TEMPLATE)

    head = weights(len(tokens), WIDTH, scale=0.6)
    head[[not printable(token) for token in tokens]] = 0.0
    out.add_tensor("token_embd.weight", weights(len(tokens), WIDTH, scale=1.0))
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        out.add_tensor(name + "attn_norm.weight", np.ones(WIDTH, np.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            out.add_tensor(name + part + ".weight", weights(WIDTH, WIDTH))
        out.add_tensor(name + "ffn_norm.weight", np.ones(WIDTH, np.float32))
        out.add_tensor(name + "ffn_gate.weight", weights(2 * WIDTH, WIDTH))
        out.add_tensor(name + "ffn_up.weight", weights(2 * WIDTH, WIDTH))
        out.add_tensor(name + "ffn_down.weight", weights(WIDTH, 2 * WIDTH))
    out.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    out.add_tensor("output.weight", head)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    write(sys.argv[1])
