"""Variants are found by file name, and their options are checked against the signature."""

import sys
from collections.abc import Sequence

import pytest

from configuration.variants import ConfigError, check_types, load, module, names, use


def build(
    first,
    *,
    rate: float = 0.1,
    size: int | None = None,
    kind: str = "a",
    on: bool = False,
    many: tuple[str, ...] = (),
    columns: Sequence[str] = (),
    shares: tuple[int, ...] = (),
    weights: Sequence[float] = (),
    file: str | tuple[str, ...] = "",
):
    return first, rate, size, kind, on, many, columns, shares, weights, file


def test_every_file_of_a_folder_is_a_variant() -> None:
    assert {"absolute", "functional_relative"} <= set(names("bert_jax.modeling.positions"))


def test_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"bert_jax.modeling.positions has no variant 'absolut'; did you mean 'absolute'\?"
    ):
        load("bert_jax.modeling.positions", use("absolut"))


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"has no option 'max_distanse'; did you mean 'max_distance'\?"):
        load("bert_jax.modeling.positions", use("functional_relative", max_distanse=3))


def test_required_arguments_are_no_options() -> None:
    with pytest.raises(ConfigError, match="has no option 'model'"):
        load("bert_jax.objectives", use("mlm", model=1))


@pytest.mark.parametrize(
    ("option", "value", "kept"),
    [
        ("rate", 1, 1.0),
        ("size", 3, 3),
        ("size", None, None),
        ("kind", "b", "b"),
        ("on", True, True),
        ("many", ["x"], ("x",)),
        ("many", "x,y", ("x", "y")),
        ("many", "3", ("3",)),
        ("columns", "first,second", ("first", "second")),
        ("shares", "40,30", (40, 30)),
        ("weights", "1,0.5", (1.0, 0.5)),
        ("file", "a,b", "a,b"),
    ],
)
def test_values_of_the_right_type(option: str, value: object, kept: object) -> None:
    checked = check_types(build, use("variant", **{option: value}))
    assert checked == {option: kept}
    assert type(checked[option]) is type(kept)


@pytest.mark.parametrize(
    ("option", "value"),
    [("rate", "high"), ("rate", True), ("size", 2.5), ("size", True), ("kind", 1), ("on", 1), ("many", 3)],
)
def test_values_of_the_wrong_type(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"variant.{option}={value!r}"):
        check_types(build, use("variant", **{option: value}))


def test_variants_are_equal_and_hashable_by_name_and_options() -> None:
    assert use("lamb", b1=0.9) == use("lamb", b1=0.9)
    assert hash(use("lamb", b1=0.9, b2=0.99)) == hash(use("lamb", b2=0.99, b1=0.9))
    assert hash(use("lamb", b1={}, b2=[{"a": [1]}])) == hash(use("lamb", b2=[{"a": [1]}], b1={}))
    assert use("lamb", b1=0.9) != use("lamb", b1=0.8)


@pytest.mark.parametrize("name", ["pip.__main__", "json.tool", "idlelib.idle", "xml.dom"])
def test_a_module_that_is_no_variant_is_not_run(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The name may stand in a stranger's configuration."""
    before = set(sys.modules)
    with pytest.raises(ConfigError, match=f"'{name}' is no variant of bert_jax.objectives: .* no function build"):
        module("bert_jax.objectives", name)
    assert name not in set(sys.modules) - before
    assert not capfd.readouterr().out


@pytest.mark.parametrize("name", ["..", "../x", "a..b", "os.path.", "a b.c"])
def test_a_name_that_no_module_can_have(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no variant .*, which is no name of a Python module either"):
        module("bert_jax.objectives", name)
