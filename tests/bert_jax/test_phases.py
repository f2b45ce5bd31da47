"""Phases with objectives of their own: what each trains on, what there is of parameters, and exact resumption."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
import test_rollback
import test_train_step as tiny
from etils import epath

from bert_jax import train
from bert_jax.checkpoints.manager import read_run, restore_params
from bert_jax.config import Checkpoints, Config, Data, Model, Phase
from bert_jax.evaluators import held_out_loss, masked_language
from bert_jax.formats import folder as folder_format
from bert_jax.modeling import bert
from bert_jax.objectives import encoders_of, exported_names, parts_of
from bert_jax.runtime import sharding
from bert_jax.training.setup import check, make_objectives, open_examples, open_store
from bert_jax.training.state import init_state
from bert_jax.training.step import jit_train_step, moment
from configuration import flags as config_flags
from configuration.variants import ConfigError, load, use
from data_pipeline.store import Store

STEPS = 4
PHASE = Phase(steps=STEPS, length=16, batch_size=8, learning_rate=1e-2, schedule=use("linear", warmup=0))
WORDS = use("", masking=use("whole_words"), mask_rate=use("cosine", first=0.4, last=0.1))
PAIRS = use("span_boundary", mask_rate=0.3, longest=4)
CONFIG = Config(
    name="stages",
    phases=(PHASE, dataclasses.replace(PHASE, objective=WORDS), dataclasses.replace(PHASE, objective=PAIRS)),
    model=Model(vocab_size=runs.V, layers=1, width=24, heads=3, mlp_width=48, max_length=16),
    objective=use("mlm", mask_rate=0.25),
    optimizer=use("adamw", weight_decay=0.1),
    checkpoints=Checkpoints(every_steps=100),
    log_every=1,
)
store = test_rollback.store


def run(monkeypatch, folder, store, kill=0, config=CONFIG):
    """Trains on one device; the process dies after the step `kill`, whose checkpoint is written, if it is given."""
    make_mesh, note = sharding.make_mesh, train.Progress.__call__

    def step(progress, done):
        note(progress, done)
        if done.step == kill + 1:
            raise test_rollback.Killed

    with monkeypatch.context() as patch:
        patch.setattr(sharding, "make_mesh", lambda mesh: make_mesh(mesh, jax.devices()[:1]))
        if kill:
            patch.setattr(train.Progress, "__call__", step)
            config = dataclasses.replace(config, checkpoints=Checkpoints(every_steps=kill))
        return train.train(dataclasses.replace(config, data=Data(store=str(store))), folder)


def logged(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    newest = max(int(path.name) for path in (folder / "checkpoints").iterdir())
    return dict(read_run(epath.Path(folder / "checkpoints" / str(newest)))["checksums"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory, store):
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        run(patch, folder, store)
    return folder


def test_each_phase_trains_by_its_own_objective(alone):
    has = ["boundary_loss" in line for line in logged(alone)]
    assert has == [False] * 2 * STEPS + [True] * STEPS


def test_no_two_phases_draw_alike_whatever_the_seeds(store):
    """A second phase does not read the rows of another seed's first: their runs are samples of their own."""
    orders = {}
    for seed in (0, 1, 2):
        config = dataclasses.replace(CONFIG, seed=seed, data=Data(store=str(store)))
        for phase in range(3):
            rows = open_examples(config, Store.open(store), phase).batch(0, 32)["tokens"]
            orders[rows.tobytes()] = (seed, phase)
    assert len(orders) == 9


@pytest.mark.parametrize("kill", [STEPS - 1, STEPS, 2 * STEPS])
def test_killed_at_the_boundary_of_a_phase_it_ends_as_the_run_left_alone(kill, alone, store, tmp_path, monkeypatch):
    with pytest.raises(test_rollback.Killed):
        run(monkeypatch, tmp_path, store, kill)
    run(monkeypatch, tmp_path, store)
    assert [line["loss"] for line in logged(tmp_path)] == [line["loss"] for line in logged(alone)]
    assert weights(tmp_path) == weights(alone)


def test_a_head_waits_for_its_phase(store, tmp_path, monkeypatch):
    """The boundaries' head is in the state from the start, and nothing moves or decays it before its phase."""
    config = dataclasses.replace(CONFIG, checkpoints=Checkpoints(every_steps=STEPS, keep=9))
    run(monkeypatch, tmp_path, store, config=config)
    at = lambda step: dict(read_run(epath.Path(tmp_path / "checkpoints" / str(step)))["checksums"])
    first, second, third = at(STEPS), at(2 * STEPS), at(3 * STEPS)
    head = [name for name in first if name.startswith("params.span_boundary")]
    assert len(head) > 5
    assert all(first[name] == second[name] for name in head)
    assert any(second[name] != third[name] for name in head)
    assert first["params.mlm_head.dense.kernel"] != second["params.mlm_head.dense.kernel"]


def test_an_objective_without_a_name_is_the_runs_own_with_other_options():
    mlm, words, pairs = CONFIG.objectives
    assert mlm == use("mlm", mask_rate=0.25)
    assert words == use("mlm", **WORDS.options)
    assert pairs == PAIRS
    given = {"phases.0.objective.masking": "spans", "phases.0.objective.masking.p": "0.4", "phases.1.objective": "mlm"}
    changed = config_flags.override(CONFIG, given).objectives
    assert changed == (use("mlm", mask_rate=0.25, masking=use("spans", p=0.4)), use("mlm"), PAIRS)
    again = config_flags.from_dict(Config, config_flags.to_dict(CONFIG))
    assert again.objectives == CONFIG.objectives


def test_parts_are_those_of_all_phases():
    assert set(parts_of(CONFIG)) == {"mlm_head", "span_boundary"}
    electra = dataclasses.replace(PHASE, objective=use("electra", generator_size=0.5))
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, heads=4), phases=(PHASE, electra))
    assert set(parts_of(config)) == {"mlm_head", "discriminator_head", "generator"}
    params = bert.init(config.model, jax.random.key(0), parts_of(config))
    assert set(encoders_of(config, params)) == {"generator"}
    assert exported_names(config) == {}


def test_two_phases_whose_parts_of_one_name_differ():
    other = dataclasses.replace(PHASE, objective=use("span_boundary", longest=5))
    config = dataclasses.replace(CONFIG, phases=(*CONFIG.phases, other))
    with pytest.raises(ConfigError, match=r"two objectives of this run have a part 'span_boundary' each, with other"):
        parts_of(config)


def test_phases_of_one_objective_share_it(store):
    config = dataclasses.replace(CONFIG, phases=(*CONFIG.phases, PHASE))
    first, second, _, last = make_objectives(
        config, open_store(dataclasses.replace(config, data=Data(store=str(store))), epath.Path("/"))
    )
    assert first is last
    assert first is not second


def test_a_wrong_objective_of_a_phase_is_found_before_training(store, tmp_path, monkeypatch):
    wrong = dataclasses.replace(CONFIG, phases=(PHASE, dataclasses.replace(PHASE, objective=use("", rate=1))))
    with pytest.raises(ConfigError, match=r"bert_jax.objectives.mlm has no option 'rate'"):
        check(wrong)
    units = dataclasses.replace(PHASE, objective=use("mlm", masking=use("units", annotation="capitals")))
    lacking = dataclasses.replace(CONFIG, phases=(PHASE, units))
    with pytest.raises(ConfigError, match=r"config.phases.1.objective is mlm, which needs the fields capitals of a"):
        run(monkeypatch, tmp_path, store, config=lacking)


def test_held_out_loss_is_that_of_the_last_phase_with_its_annotations(store):
    """Whole words need the store's word starts on held-out rows too."""
    config = dataclasses.replace(CONFIG, phases=CONFIG.phases[:2], data=Data(store=str(store)))
    opened = open_store(config, epath.Path("/"))
    params = bert.init(config.model, jax.random.key(0), parts_of(config))
    figures = held_out_loss.build(config, opened, None).evaluate(params)
    assert 3 < figures["held_out_loss"] < 7
    assert figures["held_out_rows"] > 0


def test_a_run_compiles_once_and_follows_the_rate() -> None:
    config = tiny.make_config(objective=use("mlm", mask_rate=use("linear", first=0.5, last=0.1)))
    config = dataclasses.replace(config, phases=(dataclasses.replace(tiny.PHASE, steps=5),) * 2)
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    objective = load("bert_jax.objectives", config.objective)(config.model, tiny.VOCABULARY)
    counting = lambda params, constants, batch, key: (
        objective.loss(params, constants, batch, key)[0],
        {"accuracy": jnp.float32(0), "predicted": (batch["target_weights"] > 0).sum().astype(jnp.float32)},
    )
    update = jit_train_step(config, config.phases[0], objective._replace(loss=counting), mesh)
    state, counts = init_state(config, mesh), []
    for _ in range(10):
        state, metrics = update(state, sharding.put_batch(tiny.make_batch(0), mesh))
        counts.append(int(metrics["predicted"]))
    assert update._cache_size() == 1
    assert counts == sorted(counts, reverse=True)
    text = (tiny.make_batch(0)["segments"] > 0).sum(1)
    assert counts[0] == np.rint(0.5 * text).sum()
    assert counts[-1] == np.rint(np.float32(0.1) * text).sum()


def test_the_moment_of_a_step() -> None:
    config = dataclasses.replace(tiny.make_config(), phases=(dataclasses.replace(tiny.PHASE, steps=5),) * 2)
    places = [
        (int(moment(config, jnp.int32(s)).step), int(moment(config, jnp.int32(s)).phase_step)) for s in (0, 4, 5, 9)
    ]
    assert places == [(0, 0), (4, 4), (5, 0), (9, 4)]
    assert moment(config, jnp.int32(3)).steps == 10
    assert moment(config, jnp.int32(3)).key == moment(config, jnp.int32(8)).key


# ---------------------------------------------------------------------- positions that change with the length of rows

BASES = (100.0, 5000.0)  # far enough apart that a small encoder reads otherwise
LENGTHENED = dataclasses.replace(
    CONFIG,
    name="lengthened",
    phases=(
        dataclasses.replace(PHASE, length=11),
        dataclasses.replace(PHASE, length=37, positions=use("", base=BASES[1])),
    ),
    model=dataclasses.replace(
        CONFIG.model, heads=3, max_length=37, positions=use("rotary", base=BASES[0]), init_std=0.3, dropout=0.0
    ),
    checkpoints=Checkpoints(every_steps=STEPS, keep=9),
    eval_every=STEPS,
)


@pytest.fixture(scope="module")
def lengthened(tmp_path_factory, store):
    folder = tmp_path_factory.mktemp("lengthened")
    with pytest.MonkeyPatch.context() as patch:
        run(patch, folder, store, config=LENGTHENED)
    return folder


def test_each_phase_has_its_positions() -> None:
    assert [model.positions.options["base"] for model in LENGTHENED.models] == list(BASES)
    flags = {"phases.0.positions.base": "7", "phases.1.positions.local_base": "9", "model.window": "5"}
    changed = config_flags.override(LENGTHENED, flags | {"model.global_every": "2"})
    assert [model.positions for model in changed.models] == [
        use("rotary", base=7.0),
        use("rotary", base=BASES[1], local_base=9.0),
    ]
    read = lambda step: LENGTHENED.as_of(step).model.positions.options["base"]
    assert [read(step) for step in (0, 1, STEPS, STEPS + 1, 2 * STEPS)] == [BASES[0]] * 3 + [BASES[1]] * 2
    assert LENGTHENED.as_of(STEPS).models == (LENGTHENED.models[0],) * 2


def test_the_second_phase_computes_with_its_base(lengthened, store, tmp_path, monkeypatch) -> None:
    """The first losses are those of a run that has the first base throughout, the later ones not."""
    plain = tuple(dataclasses.replace(phase, positions=use("")) for phase in LENGTHENED.phases)
    run(monkeypatch, tmp_path, store, config=dataclasses.replace(LENGTHENED, phases=plain))
    losses = [[line["loss"] for line in logged(folder) if "loss" in line] for folder in (lengthened, tmp_path)]
    assert losses[0][:STEPS] == losses[1][:STEPS]
    assert all(a != b for a, b in zip(losses[0][STEPS:], losses[1][STEPS:], strict=True))


def test_a_checkpoint_is_read_with_the_positions_of_its_phase(lengthened) -> None:
    """By evaluation and whatever else opens it, export too; evaluation during training reads as evaluation after it."""
    during = {line["step"]: line["mask_loss"] for line in logged(lengthened) if "mask_loss" in line}
    for step, base in zip((STEPS, 2 * STEPS), BASES, strict=True):
        config, params, _ = restore_params(lengthened, str(step))
        assert config.model.positions == use("rotary", base=base)
        assert folder_format.read(lengthened, str(step)).model == config.model
        figure = lambda config, params=params: masked_language.build(
            config, open_store(config, epath.Path("/")), None
        ).evaluate(params)["mask_loss"]
        rows = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, max_rows=config.eval_rows))
        assert figure(rows) == pytest.approx(during[step], rel=1e-6)
        other = dataclasses.replace(config.model, positions=use("rotary", base=BASES[base == BASES[0]]))
        assert abs(figure(dataclasses.replace(rows, model=other)) - during[step]) > 1e-5
    assert folder_format.read_model(lengthened).positions == use("rotary", base=BASES[1])


@pytest.mark.parametrize("kill", [STEPS, STEPS + 1])
def test_killed_where_rows_grow_it_ends_as_the_run_left_alone(kill, lengthened, store, tmp_path, monkeypatch):
    with pytest.raises(test_rollback.Killed):
        run(monkeypatch, tmp_path, store, kill, LENGTHENED)
    run(monkeypatch, tmp_path, store, config=LENGTHENED)
    assert weights(tmp_path) == weights(lengthened)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (use("", base=0.5), r"config.phases.1.positions: .*base is 0.5; it must be above 1"),
        (use("", bse=7.0), r"config.phases.1.positions: .*rotary has no option 'bse'; did you mean 'base'"),
    ],
)
def test_a_wrong_option_is_found_before_training(positions, message) -> None:
    phases = (PHASE, dataclasses.replace(PHASE, positions=positions))
    with pytest.raises(ConfigError, match=message):
        check(dataclasses.replace(LENGTHENED, phases=phases))


def test_the_arrays_stay() -> None:
    with pytest.raises(ConfigError, match=r"config.phases.0.positions is 'absolute'; it must be options of config.mod"):
        dataclasses.replace(LENGTHENED, phases=(dataclasses.replace(PHASE, positions=use("absolute")),))
    model = dataclasses.replace(LENGTHENED.model, positions=use("bucketed"))
    phases = (PHASE, dataclasses.replace(PHASE, positions=use("", buckets=8)))
    with pytest.raises(ConfigError, match=r"config.phases.1.positions has buckets=8, which gives the encoder other ar"):
        check(dataclasses.replace(LENGTHENED, model=model, phases=phases))
