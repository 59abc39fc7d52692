"""Miniatures with random weights of as many architectures as transformers builds quickly, and how
each is decoded."""

from dataclasses import dataclass

import torch
import transformers
from miniatures import byte_level_tokenizer

WINDOW = 256  # tokens, shorter than any prompt


@dataclass(frozen=True)
class Architecture:
    """A configuration class and its fields, and the way (boxes/decoding/trial.py) in which it is
    decoded in float32."""

    config: str
    fields: dict
    way: str  # a Way's name; "refused"
    model: str = ""  # the class, where AutoModelForCausalLM does not find it by this configuration


def _common(**more) -> dict:
    """The fields that most configurations have."""
    sizes = {
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 2048,
    }  # fmt: skip
    return sizes | {"pad_token_id": None} | more


def _gpt(**more) -> dict:
    return {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 2048} | more


_EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
}  # fmt: skip
_LATENT = {  # attention with values of another size than keys
    "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12, "n_shared_experts": 1, "first_k_dense_replace": 1,
}  # fmt: skip
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_chunk_size": 32}
_STATES = {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}
_BLOOM = {"hidden_size": 64, "n_layer": 2, "n_head": 4}
_LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 8,
    "long_factor": [2.0] * 8,
    "rope_theta": 10000.0,
}


def _rope(kind: str, original: int, **more) -> dict:
    rope = {"rope_type": kind, "rope_theta": 10000.0} | more
    return _common(max_position_embeddings=original, rope_parameters=rope)


# fmt: off
# Those that the default tests decode; the others are marked slow.
FEW = {
    "llama": Architecture("LlamaConfig", _common(), "engine"),
    "cohere": Architecture("CohereConfig", _common(), "engine"),
    "gpt2": Architecture("GPT2Config", _gpt(), "engine"),
    "mllama": Architecture("MllamaTextConfig", _common(num_hidden_layers=4,
        cross_attention_layers=[1, 3]), "engine", "MllamaForCausalLM"),
    "diffllama": Architecture("DiffLlamaConfig", _common(), "plain"),
    "gpt_oss": Architecture("GptOssConfig", _common(head_dim=16, sliding_window=2048, **_EXPERTS,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}), "plain"),
    "mamba": Architecture("MambaConfig", _STATES, "plain"),
    "llama-dynamic": Architecture("LlamaConfig", _rope("dynamic", 300, factor=4.0), "refused"),
}
_MIXED = {"layer_types": ["sliding_attention", "full_attention"]}
# With a sliding window, in every layer or in one of two; Gemma 3 with a RoPE for each kind, Gemma 2
# with caps so low that they matter.
WINDOWED = {
    "gemma2": Architecture("Gemma2Config", _common(head_dim=32, sliding_window=WINDOW, **_MIXED,
        attn_logit_softcapping=2.0, final_logit_softcapping=3.0), "engine"),
    "gemma3-window": Architecture("Gemma3TextConfig", _common(head_dim=32, sliding_window=WINDOW,
        **_MIXED), "engine"),
    "mistral-window": Architecture("MistralConfig", _common(sliding_window=WINDOW), "engine"),
    "cohere2": Architecture("Cohere2Config", _common(sliding_window=WINDOW, **_MIXED), "engine"),
    "olmo3": Architecture("Olmo3Config", _common(sliding_window=WINDOW, **_MIXED), "engine"),
    "phi3-window": Architecture("Phi3Config", _common(sliding_window=WINDOW,
        original_max_position_embeddings=2048), "engine"),
    "qwen2-window": Architecture("Qwen2Config", _common(sliding_window=WINDOW,
        use_sliding_window=True, max_window_layers=1), "engine"),
}
MANY = {
    # Named in the literature of the task, or a researcher's next model: exact in either way.
    "gpt_neox": Architecture("GPTNeoXConfig", _common(), "engine"),
    "opt": Architecture("OPTConfig", _common(ffn_dim=96, word_embed_proj_dim=64, init_std=0.3),
        "engine"),
    "phi": Architecture("PhiConfig", _common(), "engine"),
    "phi3": Architecture("Phi3Config", _common(original_max_position_embeddings=2048), "engine"),
    "qwen2": Architecture("Qwen2Config", _common(), "engine"),
    "qwen3": Architecture("Qwen3Config", _common(head_dim=16), "engine"),
    "gemma3": Architecture("Gemma3TextConfig", _common(head_dim=32), "engine"),
    "olmo": Architecture("OlmoConfig", _common(), "engine"),
    "olmo2": Architecture("Olmo2Config", _common(), "engine"),
    "granite": Architecture("GraniteConfig", _common(logits_scaling=8.0, residual_multiplier=0.5,
        embedding_multiplier=4.0, attention_multiplier=0.3), "engine"),
    "mixtral": Architecture("MixtralConfig", _common(**_EXPERTS), "engine"),
    "glm": Architecture("GlmConfig", _common(head_dim=16), "engine"),
    "bloom": Architecture("BloomConfig", _BLOOM, "plain"),
    "falcon": Architecture("FalconConfig", _common(), "plain"),
    "mpt": Architecture("MptConfig", {"d_model": 64, "n_heads": 4, "n_layers": 2,
        "max_seq_len": 2048}, "plain"),
    "gptj": Architecture("GPTJConfig", _gpt(rotary_dim=8), "plain"),
    "jamba": Architecture("JambaConfig", _common(num_hidden_layers=4, attn_layer_period=2,
        attn_layer_offset=1, num_experts=2, expert_layer_period=2, expert_layer_offset=1,
        num_experts_per_tok=1, mamba_d_state=8, use_mamba_kernels=False), "plain"),
    "falcon_h1": Architecture("FalconH1Config", _common(mamba_d_ssm=64, mamba_n_heads=4,
        mamba_d_head=16, mamba_d_state=16, head_dim=16), "plain"),
    "qwen3_next": Architecture("Qwen3NextConfig", _common(head_dim=16,
        layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=16,
        shared_expert_intermediate_size=48, **_EXPERTS), "plain"),
    "gpt_neo": Architecture("GPTNeoConfig", {"hidden_size": 64, "num_layers": 2, "num_heads": 4,
        "window_size": 64, "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 2048}, "plain"),
    "gpt_bigcode": Architecture("GPTBigCodeConfig", _gpt(), "engine"),
    "starcoder2": Architecture("Starcoder2Config", _common(sliding_window=None), "engine"),
    "stablelm": Architecture("StableLmConfig", _common(), "plain"),
    "codegen": Architecture("CodeGenConfig", _gpt(rotary_dim=8), "plain"),
    "qwen2_moe": Architecture("Qwen2MoeConfig", _common(shared_expert_intermediate_size=48,
        **_EXPERTS), "engine"),
    "smollm3": Architecture("SmolLM3Config", _common(), "engine"),
    "ernie4_5": Architecture("Ernie4_5Config", _common(head_dim=16), "engine"),
    "exaone4": Architecture("Exaone4Config", _common(sliding_window=None,
        layer_types=["full_attention"] * 2), "engine"),
    # Heads with a transform: a cap on logits; a layer before the output embedding.
    "nanochat": Architecture("NanoChatConfig", _common(), "engine"),
    "bert": Architecture("BertConfig", _common(is_decoder=True), "plain"),
    # Other caches, states and attention.
    "mamba2": Architecture("Mamba2Config", _STATES | {"num_heads": 8, "head_dim": 16, "n_groups": 1,
        "chunk_size": 32}, "plain"),
    "rwkv": Architecture("RwkvConfig", {"hidden_size": 64, "num_hidden_layers": 2,
        "context_length": 2048}, "single"),
    "llama4": Architecture("Llama4TextConfig", _common(head_dim=16, intermediate_size_mlp=96,
        num_local_experts=2, attention_chunk_size=64), "plain"),
    "deepseek_v2": Architecture("DeepseekV2Config", _common(**_EXPERTS | _LATENT), "plain"),
    "deepseek_v3": Architecture("DeepseekV3Config", _common(**_EXPERTS | _LATENT, n_group=1,
        topk_group=1), "plain"),
    "nemotron": Architecture("NemotronConfig", _common(), "plain"),
    "lfm2": Architecture("Lfm2Config", _common(layer_types=["conv", "full_attention"],
        block_auto_adjust_ff_dim=False), "plain"),
    "granitemoehybrid": Architecture("GraniteMoeHybridConfig",
        _common(layer_types=["mamba", "attention"], **_MAMBA, num_local_experts=2,
        num_experts_per_tok=1, shared_intermediate_size=48), "plain"),
    "minimax": Architecture("MiniMaxConfig",
        _common(layer_types=["linear_attention", "full_attention"], block_size=64,
        num_local_experts=2, num_experts_per_tok=1, head_dim=16), "single"),
    "recurrent_gemma": Architecture("RecurrentGemmaConfig", _common(num_hidden_layers=3,
        lru_width=64, head_dim=16, block_types=["recurrent", "recurrent", "attention"],
        num_key_value_heads=1, w_init_variance_scale=0.3), "uncached"),
    "openai-gpt": Architecture("OpenAIGPTConfig", _gpt(), "uncached"),
    # RoPE by length: within the first length, beyond it before the prompts part, and beyond it
    # while the answer is written.
    "llama-dynamic-within": Architecture("LlamaConfig", _rope("dynamic", 2048, factor=4.0),
        "engine"),
    "phi3-longrope-within": Architecture("Phi3Config", _common(rope_parameters=_LONGROPE,
        original_max_position_embeddings=2048), "engine"),
    "phi3-longrope-beyond": Architecture("Phi3Config", _common(rope_parameters=_LONGROPE,
        original_max_position_embeddings=100), "engine"),
    "phi3-longrope-between": Architecture("Phi3Config", _common(rope_parameters=_LONGROPE,
        original_max_position_embeddings="between"), "uncached"),
}
# fmt: on
ARCHITECTURES = FEW | WINDOWED | MANY


def build(name: str, between: int = 0, **more):
    """A float32 model, its logits a little wider than the byte-level tokenizer. `between`: the
    length that stands for this word in the table; `more`: fields in place of the table's."""
    architecture = ARCHITECTURES[name]
    fields = architecture.fields | more
    for key, value in fields.items():
        if value == "between":
            fields[key] = between
    tokens = {"vocab_size": len(byte_level_tokenizer()) + 24, "bos_token_id": 0, "eos_token_id": 1}
    fields = {"initializer_range": 0.3} | tokens | fields
    config = getattr(transformers, architecture.config)(**fields)
    torch.manual_seed(0)
    if architecture.model:
        return getattr(transformers, architecture.model)(config).eval()
    return transformers.AutoModelForCausalLM.from_config(config).eval()
