"""A tiny LLaVA as llama.cpp reads it: a language model and a projector in GGUF.

Needs the package ``gguf``; tensor and key names are those of llama.cpp's own converter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

_TEXT_TENSORS = {
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_VISION_TENSORS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_out": "self_attn.out_proj",
    "ln1": "layer_norm1",
    "ln2": "layer_norm2",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}
# What makes llama.cpp answer typed questions: a kind of decision model, and words around them.
DECISION = (
    "user: {% for image in images %}{{ image }}{% endfor %}"
    "{{ state if state is string else state|tojson }}\n\n{{ instructions }}\n"
    "{% for option in options %}{{ option.description or option.key }}\n{% endfor %}</s>assistant:"
)


def write_gguf(source: Path, folder: Path, decision: bool = False) -> Path:
    """Write ``model.gguf`` and ``mmproj.gguf`` of a LLaVA that ``save_pretrained`` wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = load_file(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    _write_text(source, folder, tensors, config["text_config"], decision)
    _write_projector(source, folder, tensors, config)
    return folder


def _write_text(source: Path, folder: Path, tensors: Any, text: Any, decision: bool) -> None:
    import gguf

    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    writer.add_name("tiny-llava")
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_rope_dimension_count(text["hidden_size"] // text["num_attention_heads"])
    writer.add_vocab_size(text["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, source)
    if decision:
        writer.add_string("llama.decision.type", "openjev")
        writer.add_string("tokenizer.chat_template.systemone", DECISION)

    def add(name: str, suffix: str, heads: int = 0) -> None:
        (key,) = [key for key in tensors if key.startswith("language") and key.endswith(suffix)]
        tensor = tensors[key].astype(np.float32)
        if heads:  # llama.cpp turns neighbouring numbers, transformers both halves of a head
            tensor = tensor.reshape(heads, 2, -1, tensor.shape[1]).swapaxes(1, 2)
            tensor = tensor.reshape(tensors[key].shape)
        writer.add_tensor(name, np.ascontiguousarray(tensor))

    add("token_embd.weight", "embed_tokens.weight")
    add("output.weight", "lm_head.weight")
    add("output_norm.weight", "model.norm.weight")
    for layer in range(text["num_hidden_layers"]):
        own = f"layers.{layer}."
        heads = (text["num_attention_heads"], text["num_key_value_heads"])
        for part, count in zip("qk", heads, strict=True):
            add(f"blk.{layer}.attn_{part}.weight", f"{own}self_attn.{part}_proj.weight", count)
        for name, suffix in _TEXT_TENSORS.items():
            add(f"blk.{layer}.{name}.weight", f"{own}{suffix}.weight")
    _close(writer)


def _add_tokenizer(writer: Any, source: Path) -> None:
    import gguf

    tokenizer = json.loads((source / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    kinds = [
        gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template((source / "chat_template.jinja").read_text())


def _write_projector(source: Path, folder: Path, tensors: Any, config: Any) -> None:
    import gguf

    vision = config["vision_config"]
    picture = json.loads((source / "processor_config.json").read_text())["image_processor"]
    writer = gguf.GGUFWriter(folder / "mmproj.gguf", "clip")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", vision["hidden_act"] == "gelu")
    numbers = {
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "embedding_length": vision["hidden_size"],
        "feed_forward_length": vision["intermediate_size"],
        "projection_dim": config["text_config"]["hidden_size"],
        "block_count": vision["num_hidden_layers"],
        "attention.head_count": vision["num_attention_heads"],
    }
    for name, number in numbers.items():
        writer.add_uint32(f"clip.vision.{name}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", vision["layer_norm_eps"])
    writer.add_array("clip.vision.image_mean", picture["image_mean"])
    writer.add_array("clip.vision.image_std", picture["image_std"])
    writer.add_array("clip.vision.feature_layer", [vision["num_hidden_layers"]])

    def add(name: str, suffix: str) -> None:
        (key,) = [key for key in tensors if not key.startswith("language") and key.endswith(suffix)]
        writer.add_tensor(name, np.ascontiguousarray(tensors[key].astype(np.float32)))

    add("v.class_embd", "class_embedding")
    add("v.patch_embd.weight", "patch_embedding.weight")
    add("v.position_embd.weight", "position_embedding.weight")
    for kind in ("weight", "bias"):
        add(f"v.pre_ln.{kind}", f"pre_layrnorm.{kind}")
        add(f"v.post_ln.{kind}", f"post_layernorm.{kind}")
        add(f"mm.0.{kind}", f"projector.linear_1.{kind}")
        add(f"mm.2.{kind}", f"projector.linear_2.{kind}")
        for layer in range(vision["num_hidden_layers"]):
            for name, suffix in _VISION_TENSORS.items():
                add(f"v.blk.{layer}.{name}.{kind}", f"layers.{layer}.{suffix}.{kind}")
    _close(writer)


def _close(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
