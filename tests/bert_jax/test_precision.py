"""`model.dtype="auto"`: what a machine computes in, and that a run stays with what it began with."""

import dataclasses
import json

import pytest
import runs

from bert_jax.checkpoints.manager import read_config
from bert_jax.config import Config, Labelled, Model, Phase, use
from bert_jax.runtime import precision
from bert_jax.train import train
from configuration.flags import override, read
from configuration.foreign import FormatError

AUTO = Config("auto", (Phase(10, 16, 4, 1e-3),), model=Model(layers=1, width=24, heads=3, mlp_width=48, dtype="auto"))


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 vaes", "bfloat16"),
        ("flags\t\t: fpu avx2 amx_bf16", "bfloat16"),
        ("flags\t\t: fpu avx2 avx512f not_avx512_bf16x", "float32"),
        ("Features\t: fp asimd bf16", "float32"),
        ("model name\t: amx_bf16", "float32"),
        ("", "float32"),
    ],
)
def test_a_processor_is_known_by_its_flags(tmp_path, flags, dtype):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\nbugs\t\t: none\n")
    found, why = precision.fastest("cpu", tmp_path / "cpuinfo")
    assert found == dtype
    assert "this processor has" in why


def test_no_file_and_other_platforms(tmp_path):
    assert precision.fastest("cpu", tmp_path / "none")[0] == "float32"
    assert precision.fastest("tpu") == ("bfloat16", "TPUs have units for them")


def test_a_run_stays_with_what_it_began_with(tmp_path):
    other = {"float32": "bfloat16", "bfloat16": "float32"}[precision.fastest()[0]]
    (tmp_path / "config.json").write_text(json.dumps({"model": {"dtype": other}}))
    assert precision.settled(AUTO, tmp_path).model.dtype == other
    assert precision.settled(AUTO, tmp_path / "fresh").model.dtype == precision.fastest()[0]
    named = dataclasses.replace(AUTO, model=dataclasses.replace(AUTO.model, dtype="float32"))
    assert precision.settled(named, tmp_path) is named
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(FormatError, match=r"config\.json"):
        precision.settled(AUTO, tmp_path)


@pytest.mark.parametrize(("best", "there"), [("bfloat16", "amx_bf16"), ("float32", "avx2")])
def test_the_log_says_what_and_why(monkeypatch, tmp_path, best, there):
    (tmp_path / "cpuinfo").write_text(f"flags\t: {there}\n")
    found = precision.fastest("cpu", tmp_path / "cpuinfo")
    monkeypatch.setattr(precision, "fastest", lambda: found)
    in_ = lambda dtype: dataclasses.replace(AUTO, model=dataclasses.replace(AUTO.model, dtype=dtype))
    other = {"float32": "bfloat16", "bfloat16": "float32"}[best]
    assert found[0] == best
    assert precision.explain(in_(best)) == f"matrix products in {best}: {found[1]}"
    pretraining = precision.explain(in_(other))
    labelled = Labelled(use("json_lines"), use("classification"))
    tuning = precision.explain(dataclasses.replace(in_(other), labelled=labelled))
    for line, flag in ((pretraining, "(--config.model.dtype=auto)"), (tuning, "(--config.dtype=auto)")):
        assert line.startswith(f"matrix products in {other}, as the configuration says")
        assert found[1] in line
        assert line.endswith(flag) == (best == "bfloat16")


def test_what_a_run_settled_is_kept_with_it(tmp_path, capsys):
    recipe = runs.make_recipe(tmp_path)
    changes = {"model.dtype": "auto", "data.store": str(tmp_path / "store"), "phases.0.steps": "3"}
    config = override(read(str(recipe)), changes)
    best, why = precision.fastest()
    assert train(config, tmp_path / "run")["steps"] == 3
    assert f"matrix products in {best}: {why}" in capsys.readouterr().err
    assert read_config(tmp_path / "run").model.dtype == best
    train(config, tmp_path / "run")
    assert "the run is finished" in capsys.readouterr().err
