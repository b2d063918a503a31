"""A small Qwen2.5-VL with random weights, in the format of the real ones.

Both transformers and vLLM load what `build_qwen` writes: config, safetensors, a byte-level BPE tokenizer with Qwen's
special tokens, a ChatML template and the image processor. The shape keeps to what vLLM's CPU attention takes (a head
size of 64). About 3 million parameters, 6 MB in bfloat16.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from pipeline.instruments.vlm.transformers_local import quiet

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)
PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 224 * 224}  # bounds on the area of an image, in pixels
CONTEXT = 2048  # tokens

# ChatML; an image stands where the message has it. No system message is added: the model is too small to heed one.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] in ('image', 'image_url') -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part['type'] == 'video' -%}
<|vision_start|><|video_pad|><|vision_end|>
{%- elif part['type'] == 'text' -%}
{{ part['text'] }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}"""


def build_qwen(
    folder: Path, texts_for_tokenizer: Iterable[str], seed: int = 0, *, vocab_size: int = 1024, layers: int = 3,
    spread: float = 0.02,
) -> Path:
    """Write a checkpoint with weights drawn from `seed` into `folder` (made if it is not there) and return it.

    `texts_for_tokenizer`: what the model is to read and write; words that are frequent there become one token, any
    other text still goes in and out by bytes. `vocab_size` is an upper bound, special tokens included. `spread`:
    standard deviation of the weights. Same texts and seed give the same bytes.
    """
    folder = Path(folder)
    processor = build_processor(texts_for_tokenizer, vocab_size)
    with quiet():
        processor.save_pretrained(folder)
    config = build_config(processor.tokenizer, layers, spread)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = _generation_config(processor.tokenizer)
    save_qwen(model, folder)
    return folder


def save_qwen(model: Qwen2_5_VLForConditionalGeneration, folder: Path) -> None:
    """Write config and weights in bfloat16 into `folder`, beside the processor that stands there. Casts `model`."""
    with quiet():
        torch.nn.Module.to(model, torch.bfloat16)
        model.save_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)  # safetensors leaves it to the owner alone; a server may run as somebody else


def build_processor(texts: Iterable[str], vocab_size: int) -> Qwen2_5_VLProcessor:
    """Tokenizer trained on `texts`, image and video processors, chat template."""
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=PIXELS),
        tokenizer=build_tokenizer(texts, vocab_size),
        video_processor=Qwen2VLVideoProcessor(size=PIXELS, cap_pixels_per_frame=False),
        chat_template=CHAT_TEMPLATE,
    )


def build_tokenizer(texts: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer of Qwen's kind, trained on `texts`; special tokens come last, as in Qwen's own."""
    bpe = Tokenizer(BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    ))
    model = json.loads(bpe.to_str())["model"]
    vocab = model["vocab"] | {token: len(model["vocab"]) + i for i, token in enumerate(SPECIAL_TOKENS)}
    merges: Any = [tuple(pair) for pair in model["merges"]]
    return Qwen2Tokenizer(
        vocab=vocab, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        extra_special_tokens=list(SPECIAL_TOKENS), model_max_length=CONTEXT,
    )


def build_config(tokenizer: Qwen2Tokenizer, layers: int, spread: float) -> Qwen2_5_VLConfig:
    """Text hidden size 256 with 4 heads of 64, a vision tower of 4 blocks with windows of 112 pixels."""
    ids = _ids(tokenizer)
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": -(-len(tokenizer) // 64) * 64,
            "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": layers,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT,
            "max_window_layers": layers, "rms_norm_eps": 1e-6, "initializer_range": spread, "tie_word_embeddings": True,
            "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [8, 12, 12]},
        },
        vision_config={
            "depth": 4, "hidden_size": 128, "intermediate_size": 352, "num_heads": 4, "patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112, "out_hidden_size": 256,
            "fullatt_block_indexes": [1, 3], "initializer_range": spread,
        },
        tie_word_embeddings=True,
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )


def _generation_config(tokenizer: Qwen2Tokenizer) -> GenerationConfig:
    ids = _ids(tokenizer)
    return GenerationConfig(
        do_sample=False, bos_token_id=ids["<|endoftext|>"], pad_token_id=ids["<|endoftext|>"],
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]],
    )


def _ids(tokenizer: Qwen2Tokenizer) -> dict[str, int]:
    vocabulary = tokenizer.get_vocab()
    return {token: vocabulary[token] for token in SPECIAL_TOKENS}
