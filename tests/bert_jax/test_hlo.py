"""Reading a compiled program's text, on one written by hand and on those that XLA writes."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import pallas as pl
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bert_jax import compile_tpu
from bert_jax.analysis import flops
from bert_jax.analysis.flops import matmul_flops, needed_flops
from bert_jax.analysis.hlo import Collective, KernelCall, Program, array_bytes, group_size
from bert_jax.config import Config, Mesh, Model, Phase
from bert_jax.modeling import bert, heads
from bert_jax.objectives import Vocabulary, _generator, mlm
from bert_jax.runtime.sharding import make_mesh
from bert_jax.training.state import abstract_state
from bert_jax.training.step import jit_train_step
from configuration.variants import use

TEXT = """HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %a = f32[] add(%x, %y)
}

%all-reduce-scatter.1 (p: f32[64,128]) -> f32[16,128] {
  %p = f32[64,128]{1,0} parameter(0)
  %all-reduce.5 = f32[64,128]{1,0:T(8,128)} all-reduce(%p), replica_groups=[4,4]<=[16], to_apply=%add
  ROOT %slice = f32[16,128] dynamic-slice(%all-reduce.5, %i), dynamic_slice_sizes={16,128}
}

%body (t: (s32[], f32[16,128])) -> (s32[], f32[16,128]) {
  %t = (s32[], f32[16,128]) parameter(0)
  %g = f32[16,128] get-tuple-element(%t), index=1
  %ag = (f32[16,128]{1,0}, f32[64,128]{1,0:T(8,128)S(1)}) all-gather-start(%g), replica_groups={{0,1,2,3}}
  %agd = f32[64,128]{1,0:T(8,128)} all-gather-done(%ag)
  %f = f32[16,128] fusion(%agd), kind=kCustom, calls=%all-reduce-scatter.1, backend_config={"estimated_cycles":"100"}
  %k = bf16[8,64] custom-call(%f), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":KERNEL}
  ROOT %r = (s32[], f32[16,128]) tuple(%i, %f)
}

%condition (t.1: (s32[], f32[16,128])) -> pred[] {
  %constant.2 = s32[]{:T(128)} constant(24)
  %t.1 = (s32[], f32[16,128]) parameter(0)
  %n = s32[] get-tuple-element(%t.1), index=0
  ROOT %lt = pred[] compare(%n, %constant.2), direction=LT
}

ENTRY %main (a: f32[16,128]) -> f32[] {
  %a = f32[16,128] parameter(0)
  %w = (s32[], /*index=1*/f32[16,128]{1,0}) while(%init), condition=%condition, body=%body, metadata={op_name="while"}
  %rs = bf16[8,128] reduce-scatter(%z), replica_groups=[1,16]<=[16], dimensions={0}, to_apply=%add
  %alone = f32[8] all-reduce(%z), replica_groups=[16,1]<=[16], to_apply=%add
  %ar = (f32[256,4]{1,0}, f32[]) all-reduce(%z), replica_groups=mesh['a'=2,'b'=8] {'b'}, to_apply=%add
  ROOT %last = f32[] copy(%y), backend_config={"estimated_cycles":"7"}
}
""".replace(
    "KERNEL",
    '{"body":"TUz","cost_estimate":{"flops":"4026531840","transcendentals":"6291456","bytes_accessed":"59768832",'
    '"remote_bytes_transferred":"0"},"needs_layout_passes":true}',
)


def test_collectives_and_cycles_count_as_often_as_they_run() -> None:
    program = Program(TEXT, 16)
    assert program.collectives == [
        Collective("all-gather", 64 * 128 * 4, 4, 24),
        Collective("reduce-scatter", 64 * 128 * 4, 4, 24),
        Collective("reduce-scatter", 128 * 128 * 2, 16, 1),
        Collective("all-reduce", 256 * 4 * 4, 8, 1),
    ]
    assert program.cycles == 24 * 100 + 7
    assert program.kernel_calls == [KernelCall(4026531840, 59768832, times=24)]


@pytest.mark.parametrize(
    ("collective", "wire"),
    [
        (Collective("all-reduce", 800, 4, 3), 3 * 2 * 600),  # reduce-scatter, then all-gather
        (Collective("all-gather", 800, 4, 1), 600),
        (Collective("reduce-scatter", 800, 8, 1), 700),
        (Collective("collective-permute", 800, 4, 2), 1600),
    ],
)
def test_bytes_on_a_ring(collective, wire) -> None:
    assert collective.wire_bytes == pytest.approx(wire)


def test_sizes_and_groups() -> None:
    assert array_bytes("(f32[2,3]{1,0:T(8,128)}, bf16[5]{0}, pred[7], s32[], f8e4m3fn[9])") == [24, 10, 7, 4, 9]
    assert group_size("all-reduce(%z), channel_id=1", 16) == 16


def lowered(split: str) -> Program:
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    place = lambda *axes: NamedSharding(mesh, PartitionSpec(*axes))
    x = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=place("d"))
    w = jax.ShapeDtypeStruct((32, 48), jnp.float32, sharding=place(*([None, "d"] if split == "weights" else [])))
    out = w.sharding
    gradient = jax.jit(jax.grad(lambda w, x: ((x @ w) ** 2).sum()), out_shardings=out)
    return Program(gradient.lower(w, x).compile().as_text(), 4)


def test_data_parallelism_as_xla_writes_it_reduces_the_gradient_once() -> None:
    (only,) = lowered("batch").collectives
    assert only == Collective("all-reduce", 32 * 48 * 4, 4, 1)


class TestFlops:
    def test_what_a_step_needs_is_what_ours_does(self) -> None:
        model = Model(vocab_size=128, layers=3, width=24, heads=3, mlp_width=40, max_length=37)
        objective = mlm.build(model, Vocabulary(size=128, pad=0, cls=2, sep=3, mask=4))
        params = jax.eval_shape(lambda: bert.init(model, jax.random.key(0), heads.parts(model, "mlm_head")))
        names = ("tokens", "segments", "positions", "token_types")
        batch = {name: jax.ShapeDtypeStruct((5, 37), jnp.int32) for name in names}
        batch = jax.eval_shape(objective.corrupt, batch, jax.random.key(0))
        loss = lambda params, batch: objective.loss(params, (), batch, jax.random.key(1))[0]
        done = matmul_flops(jax.make_jaxpr(jax.grad(loss))(params, batch).jaxpr)
        ones = 2 * batch["targets"].size * 128  # by which a CPU adds up the gradient of the vocabulary's bias
        assert done - ones == 5 * needed_flops(model, 37, batch["targets"].shape[1])

    def count(self, f, *shapes) -> float:
        return matmul_flops(jax.make_jaxpr(f)(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)).jaxpr)

    def test_a_product_and_its_gradients(self) -> None:
        f = lambda x, w: jnp.sum((x @ w) ** 2)
        assert self.count(f, (5, 7), (7, 3)) == 2 * 5 * 7 * 3
        assert self.count(jax.grad(f, argnums=(0, 1)), (5, 7), (7, 3)) == 3 * 2 * 5 * 7 * 3

    def test_batched(self) -> None:
        assert self.count(lambda x, y: jnp.einsum("blnh,bmnh->bnlm", x, y), (2, 5, 3, 7), (2, 5, 3, 7)) == 2 * 1050

    def test_loops_branches_and_calls(self) -> None:
        step = jax.jit(lambda x, w: x @ w)
        scan = lambda x, w: jax.lax.scan(lambda c, _: (step(c, w), None), x, None, length=11)[0]
        assert self.count(scan, (5, 7), (7, 7)) == 11 * 2 * 5 * 7 * 7
        branch = lambda x, w: jax.lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x)
        assert self.count(branch, (5, 7), (7, 7)) == 2 * 5 * 7 * 7


@pytest.mark.parametrize("axes", [{}, {"fsdp": 2}, {"tensor": 2}], ids=str)
@pytest.mark.parametrize("kernel", [use("xla"), use("chunked", shortest=8)], ids=lambda kernel: kernel.name)
def test_products_are_those_of_all_devices_whatever_the_mesh_and_the_microbatches(axes, kernel) -> None:
    """A kernel that runs on each device's own rows is one map over the mesh, within that of the microbatches."""
    model = Model(vocab_size=128, layers=3, width=24, heads=4, mlp_width=40, max_length=37, kernel=kernel)
    model = dataclasses.replace(model, attention_dropout=0.0)

    def count(mesh: jax.sharding.Mesh, microbatches: int) -> float:
        config = Config("x", (Phase(9, 37, 16, 1e-3, microbatches=microbatches),), model=model)
        step = jit_train_step(config, config.phases[0], compile_tpu.make_objective(config), mesh)
        traced = step.trace(abstract_state(config, mesh), compile_tpu.abstract_batch(config, mesh))
        return matmul_flops(traced.jaxpr.jaxpr)

    alone = count(make_mesh(Mesh(), jax.devices()[:1]), 1)
    assert alone > 0
    assert count(make_mesh(Mesh(**{"data": -1} | axes)), 1) == alone
    assert count(make_mesh(Mesh(**{"data": -1} | axes)), 2) == alone


@pytest.mark.parametrize("estimate", [None, pl.CostEstimate(flops=1, transcendentals=0, bytes_accessed=1)])
def test_kernels_without_an_estimate_count_as_often_as_they_run(estimate) -> None:
    def multiply(x, w, y):
        y[...] = x[...] @ w[...]

    of_block = pl.BlockSpec((8, 7), lambda i: (i, 0))
    call = pl.pallas_call(
        multiply,
        grid=(5,),
        in_specs=[of_block, pl.BlockSpec((7, 7), lambda i: (0, 0))],
        out_specs=of_block,
        out_shape=jax.ShapeDtypeStruct((40, 7), jnp.float32),
        cost_estimate=estimate,
    )
    loop = lambda x, w: jax.lax.scan(lambda x, _: (call(x, w), None), x, None, length=11)[0]
    jaxpr = jax.make_jaxpr(loop)(jnp.zeros((40, 7)), jnp.zeros((7, 7))).jaxpr
    known = KernelCall(flops=2 * 40 * 7 * 7, bytes=4 * (40 * 7 + 7 * 7 + 40 * 7), times=11)
    assert list(flops.kernels_without_estimate(jaxpr)) == ([known] if estimate is None else [])


@pytest.mark.parametrize(("window", "every"), [(3, 2), (5, 3), (40, 2), (4, 0)])
def test_needed_operations_count_the_keys_within_a_window(window, every) -> None:
    """One query and key at a time; a query of the last layer has the average number of keys."""
    model = Model(vocab_size=128, layers=4, width=24, heads=3, mlp_width=40, max_length=32, dropout=0.0)
    pairs = sum(abs(i - j) <= window for i in range(32) for j in range(32))
    local = sum(every == 0 or layer % every > 0 for layer in range(3))
    last = every == 0 or 3 % every > 0
    fewer = 3 * 4 * 24 * (local * (32 * 32 - pairs) + last * (8 * 32 - 8 * pairs / 32))
    windowed = dataclasses.replace(model, window=window, global_every=every)
    assert flops.needed_flops(windowed, 32, 8) == pytest.approx(flops.needed_flops(model, 32, 8) - fewer, rel=1e-12)


@pytest.mark.parametrize("change", [{}, {"gated": True}, {"embedding_width": 8}, {"gated": True, "embedding_width": 8}])
def test_needed_operations_count_gated_units_and_factorised_embeddings(change) -> None:
    """Forward, at shapes whose padding of the vocabulary is none: what the program's products do, to the operation."""
    model = Model(
        vocab_size=128,
        layers=2,
        width=24,
        heads=3,
        mlp_width=40,
        max_length=32,
        dropout=0.0,
        attention_dropout=0.0,
        kernel=use("xla"),
        **change,
    )
    objective = mlm.build(model, Vocabulary(size=128, pad=0, cls=2, sep=3, mask=4), mask_rate=0.25)
    batch = {name: jnp.ones((1, 32), jnp.int32) for name in ("tokens", "segments", "positions", "token_types")}
    corrupted = jax.eval_shape(objective.corrupt, batch, jax.random.key(0))
    params = bert.abstract_params(model, heads.parts(model, "mlm_head"))
    jaxpr = jax.make_jaxpr(lambda p, b: objective.loss(p, (), b, None)[0])(params, corrupted)
    assert flops.needed_flops(model, 32, 8) / 3 == flops.matmul_flops(jaxpr.jaxpr)


class TestFlopsOfObjectives:
    MODEL = Model(vocab_size=128, layers=3, width=24, heads=4, mlp_width=40, max_length=37, kernel=use("xla"))

    def of_row(self, objective) -> float:
        return flops.row_flops(objective, self.MODEL, 37)

    def test_masked_language_modelling_is_the_formula(self) -> None:
        assert self.of_row(use("mlm")) == needed_flops(self.MODEL, 37, 6)
        assert self.of_row(use("mlm", mask_rate=use("linear", first=0.4))) == needed_flops(self.MODEL, 37, 15)

    def test_the_generator_and_every_token_of_the_discriminator_count(self) -> None:
        generator = _generator.generator_model(self.MODEL, 0.5, 2)
        d, f, length = 24, 40, 37
        layer = 8 * length * d**2 + 4 * length**2 * d + 4 * length * d * f
        discriminator = 3 * layer + 2 * length * (d**2 + d)
        wanted = needed_flops(generator, length, 6) + 3 * discriminator
        assert self.of_row(use("electra", generator_size=0.5, generator_layers=2)) == wanted

    def test_objectives_at_once_add_and_those_in_turns_are_their_mean(self) -> None:
        one, other = use("mlm"), use("electra", generator_size=0.5)
        both = use("mixture", objectives=(one, other))
        assert self.of_row(both) == self.of_row(one) + self.of_row(other)
        turns = use("mixture", objectives=(one, other), shares=(3, 1))
        phases = tuple(Phase(steps, 37, 4, 1.0, objective=each) for steps, each in ((10, turns), (5, one)))
        config = Config("x", phases, model=self.MODEL)
        mean = (3 * self.of_row(one) + self.of_row(other)) / 4
        assert flops.training_flops(config) == pytest.approx(4 * (10 * mean + 5 * self.of_row(one)))

    @pytest.mark.parametrize("name", ["entity_replacement", "sentence_reordering", "sentence_distance", "mlm_pair"])
    def test_what_needs_fields_of_its_own_is_counted(self, name) -> None:
        assert self.of_row(use(name)) > 0.5 * needed_flops(self.MODEL, 37, 1)
