"""Writes fixtures/parity/<family>/: tiny random models and what transformers computes with them.

    python scripts/make_parity_fixtures.py          # versions: scripts/requirements.txt

Every weight is random, norms and biases included: a norm left at one or a bias left at zero would hide that it is
ignored. The expected values come from the folder as read back by `from_pretrained`, in fp32 with eager attention, so
they also pin how the written config.json is read. The tensors are described in fixtures/README.md.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM
from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

import tiny_tokenizer

ROOT = Path(__file__).resolve().parent.parent / "fixtures" / "parity"
SEQUENCE = 24
ROWS = [10, 7, 3]  # real lengths of the left-padded batch
WEIGHT_STD = 0.3

COMMON = dict(
    vocab_size=tiny_tokenizer.VOCAB_SIZE,
    hidden_size=32,
    intermediate_size=40,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    bos_token_id=None,
    eos_token_id=tiny_tokenizer.TURN_END,
    pad_token_id=tiny_tokenizer.END_OF_TEXT,
)


@dataclass
class Family:
    name: str
    model_class: type
    config: object
    # Checkpoints older than transformers 5 have `rope_theta` and `rope_scaling` at the top level, newer ones a
    # `rope_parameters` table; both are in the wild, so both are among the fixtures.
    old_rope: dict | None = None
    extra: dict = field(default_factory=dict)  # further keys of config.json that real checkpoints have
    shards: int = 1


LLAMA3_ROPE = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128)

FAMILIES = [
    Family(
        "llama2",
        LlamaForCausalLM,
        LlamaConfig(**COMMON, num_hidden_layers=2, tie_word_embeddings=False, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
        old_rope={"rope_theta": 10000.0, "rope_scaling": None},
    ),
    Family(
        # Head size 8 and theta 1000 give wavelengths 6, 35, 199 and 1117: one is kept, one is in the smooth band
        # (32 to 128), two are divided by the factor.
        "llama3",
        LlamaForCausalLM,
        LlamaConfig(**COMMON, num_hidden_layers=2, tie_word_embeddings=False, rms_norm_eps=1e-5, rope_parameters={"rope_theta": 1000.0, **LLAMA3_ROPE}),
        old_rope={"rope_theta": 1000.0, "rope_scaling": LLAMA3_ROPE},
        shards=2,
    ),
    Family(
        "mistral",
        MistralForCausalLM,
        MistralConfig(**COMMON, num_hidden_layers=2, head_dim=8, sliding_window=7, tie_word_embeddings=False, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 1000.0}),
    ),
    Family(
        # A window that `use_sliding_window: false` switches off, as in the released Qwen2.5 checkpoints.
        "qwen2",
        Qwen2ForCausalLM,
        Qwen2Config(**COMMON, num_hidden_layers=3, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 5000.0}),
        old_rope={"rope_theta": 5000.0},
        extra={"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 1},
    ),
    Family(
        "qwen2_untied",
        Qwen2ForCausalLM,
        Qwen2Config(**COMMON, num_hidden_layers=2, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
    ),
    Family(
        # Heads times head size is 64, not the hidden size.
        "qwen3",
        Qwen3ForCausalLM,
        Qwen3Config(**COMMON, num_hidden_layers=2, head_dim=16, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
    ),
    Family(
        "gemma3",
        Gemma3ForCausalLM,
        Gemma3TextConfig(
            **{**COMMON, "num_key_value_heads": 1},
            num_hidden_layers=4,
            head_dim=12,
            query_pre_attn_scalar=20,
            sliding_window=6,
            layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
            tie_word_embeddings=True,
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        ),
        old_rope={"rope_theta": 5000.0, "rope_local_base_freq": 100.0, "rope_scaling": None},
    ),
]


def randomise(model, generator: torch.Generator, gemma_norms: bool) -> None:
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            value = 0.3 * noise if gemma_norms else 1.0 + 0.3 * noise
        elif "embed_tokens" in name and gemma_norms:
            value = 0.25 * noise  # Gemma multiplies embeddings by sqrt(hidden)
        else:
            value = WEIGHT_STD * noise
        parameter.data.copy_(value)


def write_model(family: Family, folder: Path, generator: torch.Generator) -> None:
    model = family.model_class(family.config).float()
    randomise(model, generator, gemma_norms=family.name == "gemma3")
    model.config.dtype = torch.float32
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if family.shards == 2:
        split_in_two(folder)
    config = json.loads((folder / "config.json").read_text())
    config.update(family.extra)
    if family.old_rope is not None:
        tiny_tokenizer.write_json(folder / "config.transformers5.json", config)
        del config["rope_parameters"]
        config.update(family.old_rope)
        config["torch_dtype"] = config.pop("dtype")
    tiny_tokenizer.write_json(folder / "config.json", config)


def split_in_two(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    halves = [names[: len(names) // 2], names[len(names) // 2 :]]
    weight_map = {}
    for index, half in enumerate(halves, start=1):
        shard = f"model-{index:05}-of-{len(halves):05}.safetensors"
        save_file({name: tensors[name] for name in half}, folder / shard, metadata={"format": "pt"})
        weight_map.update({name: shard for name in half})
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    tiny_tokenizer.write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    (folder / "model.safetensors").unlink()


def random_tokens(generator: torch.Generator, *shape: int) -> torch.Tensor:
    first = len(tiny_tokenizer.SPECIAL_TOKENS)
    return torch.randint(first, tiny_tokenizer.VOCAB_SIZE, shape, generator=generator)


@torch.no_grad()
def expected_values(folder: Path, generator: torch.Generator) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokens = random_tokens(generator, 1, SEQUENCE)

    # transformers reports its last hidden state after the final norm; hooks give each layer's own output.
    hidden = []
    layers = model.model.layers
    hooks = [layers[0].register_forward_pre_hook(lambda _, args, kwargs: hidden.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True)]
    hooks += [layer.register_forward_hook(lambda _, __, output: hidden.append(output[0] if isinstance(output, tuple) else output)) for layer in layers]
    output = model(tokens, output_attentions=True, output_hidden_states=True, use_cache=False)
    for hook in hooks:
        hook.remove()
    assert len(hidden) == len(layers) + 1 and all(state.shape == hidden[0].shape for state in hidden)
    torch.testing.assert_close(hidden[1], output.hidden_states[1], rtol=0, atol=0)

    longest = max(ROWS)
    batch_tokens = torch.full((len(ROWS), longest), tiny_tokenizer.END_OF_TEXT)
    batch_mask = torch.zeros(len(ROWS), longest, dtype=torch.long)
    for row, length in enumerate(ROWS):
        batch_tokens[row, longest - length :] = random_tokens(generator, length)
        batch_mask[row, longest - length :] = 1
    batch_positions = (batch_mask.cumsum(-1) - 1).clamp(min=0)
    batch = model(batch_tokens, attention_mask=batch_mask, position_ids=batch_positions, use_cache=False)
    for row, length in enumerate(ROWS):
        alone = model(batch_tokens[row : row + 1, longest - length :], use_cache=False).logits[0]
        torch.testing.assert_close(batch.logits[row, longest - length :], alone, rtol=1e-4, atol=1e-4)

    return {
        "tokens": tokens,
        "logits": output.logits[0],
        "hidden_states": torch.cat(hidden),
        "final_hidden": output.hidden_states[-1][0],
        "attention.first": output.attentions[0][0],
        "attention.last": output.attentions[-1][0],
        "batch_tokens": batch_tokens,
        "batch_mask": batch_mask,
        "batch_positions": batch_positions,
        # Rows of padding attend to nothing and mean nothing: zeroed, so that nobody compares them.
        "batch_logits": batch.logits * batch_mask[..., None],
    }


def check_newer_config(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    """config.transformers5.json must describe the same model as config.json."""
    newer = folder / "config.transformers5.json"
    if not newer.exists():
        return
    copy = folder.with_name(folder.name + ".newer")
    shutil.copytree(folder, copy)
    shutil.move(copy / newer.name, copy / "config.json")
    model = AutoModelForCausalLM.from_pretrained(copy, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = model(expected["tokens"], use_cache=False).logits[0]
    torch.testing.assert_close(logits, expected["logits"], rtol=0, atol=0)
    shutil.rmtree(copy)


def main() -> None:
    torch.set_num_threads(1)
    for seed, family in enumerate(FAMILIES):
        folder = ROOT / family.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        generator = torch.Generator().manual_seed(1000 + seed)
        write_model(family, folder, generator)
        tiny_tokenizer.save(folder)
        expected = expected_values(folder, generator)
        check_newer_config(folder, expected)
        save_file({name: tensor.contiguous() for name, tensor in expected.items()}, folder / "expected.safetensors")
        size = sum(path.stat().st_size for path in folder.iterdir())
        top = expected["logits"].softmax(-1).max(-1).values.mean()
        print(f"{family.name:13} {size / 1e3:6.0f} kB  logits std {expected['logits'].std():.2f}, mean top probability {top:.2f}")


if __name__ == "__main__":
    main()
