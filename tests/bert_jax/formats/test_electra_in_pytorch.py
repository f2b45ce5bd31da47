"""ELECTRA against the classes of the library transformers: both encoders in both directions, and joint training."""

import dataclasses
import json

import torch_reference as reference  # before transformers: no network

# isort: split
import electra_oracle as oracle
import jax
import numpy as np
import pytest
import torch
import transformers

import bert_jax
from bert_jax.config import Config, Model, Phase
from bert_jax.convert import export
from bert_jax.formats import huggingface
from bert_jax.formats.table import flatten
from bert_jax.modeling import bert, heads
from bert_jax.modeling.heads import discriminator_head
from bert_jax.objectives import Vocabulary, _generator, electra, parts_of
from bert_jax.runtime import sharding
from bert_jax.training.state import init_state, learning_rate
from bert_jax.training.step import jit_train_step
from configuration.foreign import FormatError
from configuration.variants import use

pytestmark = pytest.mark.torch
V, L = 101, 37
VOCABULARY = Vocabulary(V, 0, 2, 3, 4)
MODEL = Model(vocab_size=V, layers=2, width=24, heads=3, mlp_width=40, max_length=L, dropout=0.0, attention_dropout=0.0)
SIZES = {  # model, generator_size, generator_layers
    "one width": (MODEL, 1 / 3, 0),
    "factorised": (dataclasses.replace(MODEL, embedding_width=10), 2 / 3, 1),
    "a generator as wide as the tables": (dataclasses.replace(MODEL, embedding_width=8), 1 / 3, 1),
}


def make_batch(seed: int, rows: int = 5) -> dict[str, np.ndarray]:
    """Rows of one document each, of different lengths."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(L // 2, L + 1, (rows, 1))
    place = np.broadcast_to(np.arange(L, dtype=np.int32), (rows, L))
    words = 5 + (rng.integers(0, V - 5, (rows, 1)) + np.cumsum(rng.integers(-3, 5, (rows, L)), axis=1)) % (V - 5)
    tokens = np.where(place < ends - 1, words, np.where(place == ends - 1, VOCABULARY.sep, VOCABULARY.pad))
    tokens[:, 0] = VOCABULARY.cls
    return {
        "tokens": tokens.astype(np.int32),
        "segments": (place < ends).astype(np.int32),
        "positions": place.copy(),
        "token_types": (place > L // 3).astype(np.int32),
    }


def random(params: dict, seed: int) -> dict:
    """Parameters that are all different, biases and LayerNorms too."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + 0.15 * rng.normal(size=x.shape).astype(np.float32), jax.device_get(params))


@pytest.mark.parametrize("sizes", SIZES)
def test_loss_and_gradients_are_those_of_two_pytorch_classes(tmp_path, sizes) -> None:
    model, size, layers = SIZES[sizes]
    own = {"generator_size": size, "generator_layers": layers}
    objective = electra.build(model, VOCABULARY, mask_rate=0.3, **own)
    generator = _generator.generator_model(model, size, layers)
    params = random(bert.init(model, jax.random.key(0), electra.parts(model, **own)), 1)
    corrupted = jax.device_get(objective.corrupt(make_batch(2), jax.random.key(3)))
    (loss, metrics), gradients = jax.jit(
        jax.value_and_grad(lambda params: objective.loss(params, (), corrupted, None), has_aux=True)
    )(params)
    guessed = jax.device_get(jax.jit(lambda params: _generator.guess(generator, params, corrupted, None).batch)(params))

    theirs = oracle.build(model, generator, params, tmp_path)
    mlm, rtd = theirs(corrupted, guessed)
    (mlm + rtd).backward()
    np.testing.assert_allclose(metrics["mlm_loss"], mlm.item(), rtol=1e-5)
    np.testing.assert_allclose(50 * metrics["rtd_loss"], rtd.item(), rtol=1e-5)
    np.testing.assert_allclose(loss, (mlm + rtd).item(), rtol=1e-5)
    found = dict(theirs.named_parameters())
    ours = oracle.by_name(model, generator, jax.device_get(gradients))
    assert found.keys() <= ours.keys()
    for name, parameter in found.items():
        allowed = 1e-5 * parameter.grad.abs().max().item() + 1e-7  # that of a key's bias is zero but for rounding
        np.testing.assert_allclose(ours[name], parameter.grad, atol=allowed, rtol=0, err_msg=name)


@pytest.mark.parametrize("steps", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_joint_training_is_pytorchs_at_every_step(tmp_path, steps) -> None:
    phase = Phase(steps=steps, length=L, batch_size=5, learning_rate=2e-3, schedule=use("linear", warmup=0.1))
    model, size, layers = SIZES["factorised"]
    chosen = use("electra", generator_size=size, generator_layers=layers)
    config = Config("joint", (phase,), model=model, objective=chosen, optimizer=use("adamw"))
    objective = electra.build(model, VOCABULARY, **chosen.options)
    generator = _generator.generator_model(model, size, layers)
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    update = jit_train_step(config, phase, objective._replace(corrupt=lambda batch, key: batch), mesh)
    guess = jax.jit(lambda params, batch: _generator.guess(generator, params, batch, None).batch)
    corrupt = jax.jit(objective.corrupt)
    state = init_state(config, mesh)
    theirs = oracle.build(model, generator, state["params"], tmp_path)
    settled = {True: [], False: []}
    for name, parameter in theirs.named_parameters():
        settled[name.endswith("bias") or "LayerNorm" in name].append(parameter)
    groups = [{"params": settled[True], "weight_decay": 0.0}, {"params": settled[False], "weight_decay": 0.01}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-6)
    ours, found = [], []
    for step in range(steps):
        batch = jax.device_get(corrupt(make_batch(step), jax.random.key(step)))
        guessed = jax.device_get(guess(state["params"], batch))
        loss = sum(theirs(batch, guessed))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), config.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = float(learning_rate(config)(step))
        optimizer.step()
        found.append(loss.item())
        state, metrics = update(state, batch)
        ours.append(float(metrics["loss"]))
    np.testing.assert_allclose(ours, found, rtol=1e-4)
    assert np.mean(ours[-5:]) < np.mean(ours[:5])


# ------------------------------------------------------------------ files

TINY = {
    "vocab_size": V,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "hidden_size": 24,
    "intermediate_size": 20,
    "max_position_embeddings": 41,
}


@pytest.mark.parametrize("embedding_size", [24, 9])
@pytest.mark.parametrize("kind", ["Model", "ForPreTraining", "ForMaskedLM", "ForTokenClassification"])
def test_both_encoders_compute_the_same_and_come_back_bit_for_bit(tmp_path, kind, embedding_size) -> None:
    settings = transformers.ElectraConfig(**TINY, embedding_size=embedding_size)
    model = reference.random_model(getattr(transformers, f"Electra{kind}"), settings, 0)
    model.save_pretrained(tmp_path / "theirs")
    encoder = bert_jax.load(tmp_path / "theirs")
    rows = reference.random_rows(np.random.default_rng(0), 3, L, V, 2)
    said = reference.run(model, rows)
    if kind == "ForPreTraining":
        hidden = encoder(rows.tokens, rows.mask, rows.types)["hidden"]
        logits = discriminator_head.logits(encoder.config, encoder.params, hidden)
        assert reference.distance(logits, said["logits"], rows.mask) <= reference.TOLERANCE
    elif kind == "ForMaskedLM":
        reference.assert_same(encoder, said, rows)
    far = reference.distance(
        encoder(rows.tokens, rows.mask, rows.types)["hidden"], said["hidden_states"][-1], rows.mask
    )
    assert far <= reference.TOLERANCE
    export(tmp_path / "theirs", tmp_path / "back")
    again = type(model).from_pretrained(tmp_path / "back")
    assert again.config.architectures == [type(model).__name__]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, dict(again.named_parameters())[name]), name


def test_what_electra_has_otherwise_is_refused(tmp_path) -> None:
    settings = transformers.ElectraConfig(**TINY, hidden_act="gelu_new")
    reference.random_model(transformers.ElectraForMaskedLM, settings, 0).save_pretrained(tmp_path)
    with pytest.raises(FormatError, match="hidden_act='gelu_new' of an electra"):
        bert_jax.load(tmp_path)
    params = bert.init(MODEL, jax.random.key(0), heads.parts(MODEL, "pooler", use("sequence_head")))
    with pytest.raises(FormatError, match="no place for the parameters pooler/bias"):
        huggingface.write(MODEL, params, tmp_path, "electra")


def test_a_factorised_encoder_is_an_electra(tmp_path) -> None:
    model = dataclasses.replace(MODEL, embedding_width=10)
    huggingface.write(model, bert.init(model, jax.random.key(0), heads.parts(model, "mlm_head")), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["ElectraForMaskedLM"]
    found = bert_jax.load(tmp_path)
    config = Config("test", (Phase(1, 8, 1, 1e-3),), model=model)
    assert dict(flatten(found.params)).keys() == dict(flatten(bert.abstract_params(model, parts_of(config)))).keys()
