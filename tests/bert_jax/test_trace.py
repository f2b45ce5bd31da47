"""Reading a trace: one written by hand, and one of a real run of the command."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import runs

from bert_jax.trace import Event, own_times, sources_of, summary
from bert_jax.training.setup import INPUT_WAIT, TO_DEVICE

PROGRAM = """
ENTRY %main (p: f32[2]) -> f32[2] {
  %dot.1 = f32[2,3]{1,0} dot(%p, %p), metadata={op_name="jit(train_step)/jvp(layer)/dot_general" source_line=3}
  %fusion.2 = (f32[2]{0}, s32[]) fusion(%dot.1), kind=kLoop, metadata={op_name="jit(train_step)/transpose(jvp())/mul"}
  %while.3 = f32[2]{0} while(%dot.1), metadata={op_name="jit(train_step)/while"}
  ROOT %add.4 = f32[2]{0} add(%p, %p), metadata={op_name="jit(train_step)/optimizer/add"}
}
"""


def event(name: str, start: float, end: float, **stats: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, start_ns=start, end_ns=end, duration_ns=end - start, stats=stats.items())


def test_own_time_is_without_what_is_inside() -> None:
    events = [Event("inner", 10, 30), Event("outer", 0, 100), Event("inner", 30, 40), Event("deep", 12, 20)]
    assert own_times(events) == {"outer": 70, "inner": 22, "deep": 8}


def test_a_trace_by_hand() -> None:
    device = [
        event("while.3", 0, 900),
        event("dot.1", 0, 600),
        event("%fusion.2 = (f32[2]{0}, s32[]) fusion(…)", 600, 800),
        event("end: dot.1", 600, 601, hlo_op="dot.1"),
        event("a kernel", 1000, 1200, hlo_op="add.4"),
        event("something else", 0, 5000),
    ]
    host = [event(INPUT_WAIT, 0, 100), event(INPUT_WAIT, 500, 600), event(TO_DEVICE, 600, 640)]
    lines = [SimpleNamespace(events=device), SimpleNamespace(events=host)]
    figures = summary(SimpleNamespace(planes=[SimpleNamespace(lines=lines)]), PROGRAM, steps=2, seconds=2000e-9)
    assert sources_of(PROGRAM)["fusion.2"] == ("fusion", "jit(train_step)/transpose(jvp())/mul")
    assert (figures["input_wait"], figures["copies"]) == pytest.approx((0.1, 0.02))
    assert figures["step_seconds"] == pytest.approx(1e-6)
    assert figures["parts"] == pytest.approx({"forward": 0.6, "backward": 0.2, "optimizer": 0.2})
    assert [(o["name"], o["seconds"]) for o in figures["operations"]] == [
        ("dot.1", pytest.approx(300e-9)),
        ("fusion.2", pytest.approx(100e-9)),
        ("add.4", pytest.approx(100e-9)),
    ]


@pytest.mark.slow
def test_the_command_on_a_real_run(tmp_path: Path) -> None:
    recipe = runs.make_recipe(tmp_path)
    figures = tmp_path / "figures.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "bert_jax.trace", f"--config={recipe}", f"--workdir={tmp_path}"),
            *("--steps=2", "--config.model.layers=2", f"--json={figures}"),
        ],
        env=runs.environment(),
        check=True,
        timeout=240,
    )
    traced = json.loads(figures.read_text())
    assert {"forward", "backward", "optimizer", "corrupt"} <= traced["parts"].keys()
    assert sum(traced["parts"].values()) == pytest.approx(1)
    assert len(traced["operations"]) == 10
    assert 0 < traced["input_wait"] < 1
    assert 0 < traced["copies"] < 1
