"""Random PyTorch models of the library transformers, and the comparison of ours with them."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import dataclasses

import jax
import numpy as np
import torch
import transformers
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from bert_jax.encoder import Encoder
from bert_jax.modeling.heads import pair_head

transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)

TOLERANCE = 1e-5  # of the largest number
a_few_examples = settings(
    max_examples=3,
    phases=(Phase.generate,),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
PAD = 1  # never a token of a row's text, so that models that look for it find padding alone


@dataclasses.dataclass(frozen=True)
class Rows:
    """tokens, mask (0 is padding) and types, int [B, L]."""

    tokens: np.ndarray
    mask: np.ndarray
    types: np.ndarray


def random_rows(rng: np.random.Generator, batch: int, length: int, vocabulary: int, types: int) -> Rows:
    """Rows of random lengths."""
    mask = (np.arange(length) < rng.integers(1, length + 1, (batch, 1))).astype(np.int64)
    tokens = np.where(mask, rng.integers(PAD + 1, vocabulary, (batch, length)), PAD)
    return Rows(tokens, mask, rng.integers(0, types, (batch, length)))


def trained(model) -> dict[str, torch.Tensor]:
    """The parameters by name, without what is tied or constant."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def random_model(kind, config, seed: int):
    """A PyTorch model with every parameter random, LayerNorms and biases too."""
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for name, parameter in trained(model).items():
            center = 1.0 if "norm.weight" in name.lower() else 0.0
            parameter.normal_(center, 0.15)
    return model


@st.composite
def architectures(draw) -> dict:
    """What config.json calls the fields of a small, odd encoder."""
    heads = draw(st.sampled_from([1, 2, 3, 5]))
    return {
        "vocab_size": draw(st.sampled_from([101, 128, 131])),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "hidden_size": heads * draw(st.sampled_from([4, 8, 14])),
        "intermediate_size": draw(st.sampled_from([7, 48])),
        "max_position_embeddings": draw(st.sampled_from([41, 64])),
        "type_vocab_size": draw(st.sampled_from([1, 2, 3])),
        "layer_norm_eps": draw(st.sampled_from([1e-12, 1e-5])),
        "hidden_act": draw(st.sampled_from(["gelu", "gelu_new"])),
    }


def run(model, rows: Rows) -> dict[str, np.ndarray]:
    """What the PyTorch model says of the rows: hidden states of each layer, and its heads."""
    tokens, mask, types = (torch.tensor(x) for x in (rows.tokens, rows.mask, rows.types))
    with torch.no_grad():
        out = model(tokens, attention_mask=mask, token_type_ids=types, output_hidden_states=True)
    return {
        name: [state.numpy() for state in value] if name == "hidden_states" else value.numpy()
        for name, value in out.items()
        if value is not None
    }


def first_layers(encoder: Encoder, number: int) -> Encoder:
    """The encoder cut after so many layers, each with weights of its own."""
    layers = encoder.config.layers
    of_layers = lambda x: np.repeat(x, layers // x.shape[0], axis=0)[:number]
    params = encoder.params | {"layers": jax.tree.map(of_layers, encoder.params["layers"])}
    return Encoder(dataclasses.replace(encoder.config, layers=number, sharing="none", groups=1), params)


def after_norm(encoder: Encoder, state: np.ndarray) -> np.ndarray:
    """What a pre-LN encoder that ended here would say of a hidden state."""
    if encoder.config.norm == "post":
        return state
    norm, x = encoder.params["final_norm"], np.asarray(state, np.float64)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + encoder.config.norm_epsilon)
    return x * norm["scale"] + norm.get("bias", 0)


def distance(ours, theirs: np.ndarray, mask: np.ndarray | None = None) -> float:
    """The largest difference where mask is not 0, relative to the largest number."""
    ours, theirs = (np.asarray(x)[() if mask is None else mask > 0] for x in (ours, theirs))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def assert_same(encoder: Encoder, theirs: dict[str, np.ndarray], rows: Rows, every_layer: bool = False) -> None:
    """Ours says the same; if not, the first layer that departs is named."""
    out = encoder(rows.tokens, rows.mask, rows.types)
    states = theirs["hidden_states"]
    far = distance(out["hidden"], states[-1], rows.mask)
    if every_layer or far > TOLERANCE:
        for number, state in enumerate([*(after_norm(encoder, x) for x in states[1:-1]), states[-1]], 1):
            hidden = first_layers(encoder, number)(rows.tokens, rows.mask, rows.types)["hidden"]
            assert distance(hidden, state, rows.mask) <= TOLERANCE, f"layer {number} of {len(states) - 1} departs"
    assert far <= TOLERANCE
    for name, logits in theirs.items():
        if name in ("logits", "prediction_logits"):
            assert distance(out["logits"], logits, rows.mask) <= TOLERANCE
        elif name in ("seq_relationship_logits", "sop_logits"):
            pair = pair_head.logits(encoder.config, encoder.params, out["pooled"])
            assert distance(pair, logits) <= TOLERANCE
        elif name == "pooler_output":
            assert distance(out["pooled"], logits) <= TOLERANCE
