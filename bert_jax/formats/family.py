"""What the families of BERT-like models in PyTorch layout have in common."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any

import annotated_types
import numpy as np
from typing_extensions import TypedDict  # pydantic no longer supports Python 3.11's

from bert_jax import config
from bert_jax.config import schema
from bert_jax.formats import table
from bert_jax.formats.table import Rule
from bert_jax.modeling import bert, heads
from configuration import variants
from configuration.foreign import FormatError
from configuration.variants import use

Settings = dict[str, Any]  # the content of a config.json
Size = Annotated[int, annotated_types.Interval(ge=-1, le=schema.LARGEST)]

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}


class Known(TypedDict, total=False):
    """The settings that a family reads, and their types; a config.json may leave out any, and have others."""

    model_type: str
    architectures: list[str] | None
    objective_weights: list[str] | None
    vocab_size: Size
    type_vocab_size: Size
    task_type_vocab_size: Size
    max_position_embeddings: Size
    max_relative_position: Size | None
    num_hidden_layers: Size
    n_layers: Size
    num_hidden_groups: Size
    hidden_size: Size
    dim: Size
    embedding_size: Size
    num_attention_heads: Size
    n_heads: Size
    intermediate_size: Size
    hidden_dim: Size
    local_attention: Size
    global_attn_every_n_layers: Size
    hidden_act: str
    hidden_activation: str
    activation: str
    layer_norm_eps: float
    norm_eps: float
    norm_rel_ebd: str
    initializer_range: float
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    embedding_dropout: float
    attention_dropout: float
    dropout: float
    global_rope_theta: float | None
    local_rope_theta: float | None
    rope_parameters: dict[str, Any] | None
    layer_types: list[str] | None
    id2label: dict[str, Any] | None
    positions: dict[str, Any]
    relative_attention: bool
    position_biased_input: bool
    position_buckets: Size
    max_relative_positions: Size
    share_att_key: bool
    pos_att_type: str | list[str] | None
    attention_head_size: Size | None
    conv_kernel_size: Size | None
    z_steps: Size | None
    pooler_hidden_act: str
    window: Size
    global_every: Size
    groups: Size
    pad_token_id: int | None


# Fields of the model that choose how it is computed or trained, not what the encoder computes.
NEUTRAL = ("init", "kernel", "dtype", "remat", "unroll", "isolate_documents")


@dataclasses.dataclass(frozen=True)
class Family:
    """One model family: its configuration and its weights, in both directions."""

    prefix: str  # of the encoder's names; files of a bare encoder leave it out
    model: Callable[[Settings], config.Model]  # config.json to ours, without heads
    settings: Callable[[config.Model, Settings], Settings]  # ours and the special ids to config.json
    rules: Callable[[config.Model, Settings], list[Rule]]
    tied: Mapping[str, str]  # names that repeat another array, or stand for it: that is read
    architectures: Mapping[frozenset[str], str]  # the class that has exactly these heads, besides the pooler
    special_ids: Settings  # what config.json says of them where there is no tokenizer to ask
    preference: int = 0  # of the families that express an encoder, an export takes the one with the highest; 0: none
    model_type: str = ""  # in config.json, where it is not the name of the family's file
    code: tuple[str, ...] = ()  # files of bert_jax/formats/code that a folder carries, for transformers to run
    own_code: Callable[[config.Model], dict[str, str]] = lambda model: {}  # more of it, by name: a scheme's own
    constants: Callable[[config.Model], dict[str, np.ndarray]] = lambda model: {}  # arrays stored that are no weights
    unread: tuple[str, ...] = ()  # prefixes of names in released files that no class of transformers reads
    heads: Callable[[Collection[str]], Settings] = lambda parts: {}  # what config.json says of the heads there are
    task_rules: Callable[[Collection[str]], list[Rule]] = lambda heads: task_rules(heads)

    def all_rules(self, model: config.Model, settings: Settings, heads: Collection[str]) -> list[Rule]:
        """The table of names of the encoder and these heads; a task's come before what they stand in place of."""
        ours = {rule.ours: rule for rule in [*self.rules(model, settings), *self.task_rules(heads)]}
        return list(ours.values())

    def heads_of(self, architecture: str) -> frozenset[str]:
        """The heads of a class, besides the pooler; none of a class that is not known."""
        return next((heads for heads, name in self.architectures.items() if name == architecture), frozenset())


def load(name: str) -> Family:
    """The family of this `model_type`.

    Raises:
      ConfigError: there is none; the message names those there are.
    """
    return variants.module("bert_jax.formats.families", name.replace("-", "_")).FAMILY


def check_expresses(family: Family, name: str, model: config.Model, settings: Settings) -> None:
    """Raises FormatError where `settings` would be read as another encoder than `model`."""
    for field, (ours, theirs) in differences(model, family.model(settings)).items():
        raise FormatError(f"the {name} layout cannot express model.{field}={ours!r}: it would be read as {theirs!r}")


def differences(ours: config.Model, theirs: config.Model, but: Sequence[str] = NEUTRAL) -> dict[str, tuple[Any, Any]]:
    """The fields in which two encoders differ, with both values; `but` are ignored."""
    names = [field.name for field in dataclasses.fields(config.Model) if field.name not in but]
    values = {name: (plain(getattr(ours, name)), plain(getattr(theirs, name))) for name in names}
    return {name: pair for name, pair in values.items() if pair[0] != pair[1]}


def plain(value: Any) -> Any:
    """A position scheme as its name and all its options, so that equal ones compare equal; others as they are."""
    if not isinstance(value, variants.Variant):
        return value
    options = variants.options_of(variants.module("bert_jax.modeling.positions", value.name).build) | dict(
        value.options
    )
    return {"name": value.name} | options


def common_model(settings: Settings, **changes: Any) -> config.Model:
    """The fields that every family calls the same; those left out of config.json are BERT-base's.

    Raises:
      FormatError: a setting that this encoder does not have.
    """
    for name, wanted in (
        ("is_decoder", False),
        ("add_cross_attention", False),
        ("position_embedding_type", "absolute"),
    ):
        if settings.get(name, wanted) not in (wanted, None):
            raise FormatError(f"{name}={settings[name]!r} in config.json is not supported; only {wanted!r} is")
    activation = settings.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise FormatError(f"hidden_act={activation!r} in config.json is none of {', '.join(ACTIVATIONS)}")
    if settings.get("type_vocab_size") == 0 and "token_types" not in changes:
        raise FormatError(
            "type_vocab_size=0 (model.token_types) is no encoder of this layout, whose classes have a table of them"
        )
    base = config.Model()
    fields = {
        "vocab_size": settings.get("vocab_size", base.vocab_size),
        "layers": settings.get("num_hidden_layers", base.layers),
        "width": settings.get("hidden_size", base.width),
        "heads": settings.get("num_attention_heads", base.heads),
        "mlp_width": settings.get("intermediate_size", base.mlp_width),
        "max_length": settings.get("max_position_embeddings", base.max_length),
        "token_types": settings.get("type_vocab_size", base.token_types),
        "positions": use("absolute"),
        "norm_epsilon": float(settings.get("layer_norm_eps", base.norm_epsilon)),
        "activation": ACTIVATIONS[activation],
        "dropout": float(settings.get("hidden_dropout_prob", base.dropout)),
        "attention_dropout": float(settings.get("attention_probs_dropout_prob", base.attention_dropout)),
        "init_std": float(settings.get("initializer_range", base.init_std)),
    }
    return config.Model(**fields | changes)


def common_settings(model: config.Model, special_ids: Settings) -> Settings:
    """What config.json says of the fields that every family calls the same."""
    return special_ids | {
        "vocab_size": model.vocab_size,
        "num_hidden_layers": model.layers,
        "hidden_size": model.width,
        "num_attention_heads": model.heads,
        "intermediate_size": model.mlp_width,
        "max_position_embeddings": model.max_length,
        "type_vocab_size": model.token_types,
        "layer_norm_eps": model.norm_epsilon,
        "hidden_act": "gelu_new" if model.activation == "gelu_tanh" else model.activation,
        "hidden_dropout_prob": model.dropout,
        "attention_probs_dropout_prob": model.attention_dropout,
        "initializer_range": model.init_std,
        "tie_word_embeddings": True,
    }


def embedding(ours: str, theirs: str, *, vocabulary: bool = False, unused_rows: int = 0) -> Rule:
    """A table [rows, D], the same in both."""
    return Rule(f"{ours}/embedding", f"{theirs}.weight", inputs=1, vocabulary=vocabulary, unused_rows=unused_rows)


def named(ours: str, theirs: str) -> Rule:
    """An array of an objective's own: kernels as PyTorch keeps them, [out, in], with one axis in; others as vectors."""
    kernel = ours.endswith("/kernel")
    return Rule(ours, theirs, inputs=int(kernel), transposed=kernel)


def dense(ours: str, theirs: str, inputs: int = 1, **layout: Any) -> list[Rule]:
    """A kernel, which PyTorch keeps as [out, in], and its bias; `layout` are fields of both rules."""
    return [
        Rule(f"{ours}/kernel", f"{theirs}.weight", inputs=inputs, transposed=True, **layout),
        Rule(f"{ours}/bias", f"{theirs}.bias", **layout),
    ]


def norm(ours: str, theirs: str) -> list[Rule]:
    """A LayerNorm."""
    return [Rule(f"{ours}/scale", f"{theirs}.weight"), Rule(f"{ours}/bias", f"{theirs}.bias")]


def encoder_rules(prefix: str) -> list[Rule]:
    """Everything below the heads but the positions, as BERT, RoBERTa and NEZHA name it."""
    return [*embedding_rules(prefix), *layer_rules(prefix), *dense("pooler", f"{prefix}.pooler.dense")]


def embedding_rules(prefix: str) -> list[Rule]:
    """The embeddings but the positions, as all name them."""
    return [
        embedding("embeddings/word", f"{prefix}.embeddings.word_embeddings", vocabulary=True),
        embedding("embeddings/token_type", f"{prefix}.embeddings.token_type_embeddings"),
        *norm("embeddings/norm", f"{prefix}.embeddings.LayerNorm"),
    ]


def layer_rules(prefix: str) -> list[Rule]:
    """The layers, as BERT, RoBERTa, NEZHA and RoFormer name them."""
    layer = f"{prefix}.encoder.layer.{{layer}}"
    return [
        *dense("layers/attention/query", f"{layer}.attention.self.query"),
        *dense("layers/attention/key", f"{layer}.attention.self.key"),
        *dense("layers/attention/value", f"{layer}.attention.self.value"),
        *dense("layers/attention/output", f"{layer}.attention.output.dense", inputs=2),
        *norm("layers/attention/norm", f"{layer}.attention.output.LayerNorm"),
        *dense("layers/mlp/up", f"{layer}.intermediate.dense"),
        *dense("layers/mlp/down", f"{layer}.output.dense"),
        *norm("layers/mlp/norm", f"{layer}.output.LayerNorm"),
    ]


def pretraining_head_rules() -> list[Rule]:
    """The heads of BERT's pretraining, as BERT and NEZHA name them."""
    return [*mlm_head_rules(), *dense("pair_head", "cls.seq_relationship")]


def task_rules(heads: Collection[str]) -> list[Rule]:
    """The heads of tasks, as most families name them."""
    names = dict.fromkeys(("sequence_head", "token_head", "choice_head"), "classifier") | {"span_head": "qa_outputs"}
    return [rule for ours, theirs in names.items() if ours in heads for rule in dense(ours, theirs)]


def task_architectures(name: str) -> dict[frozenset[str], str]:
    """The classes of tasks."""
    return {
        frozenset({"sequence_head"}): f"{name}ForSequenceClassification",
        frozenset({"token_head"}): f"{name}ForTokenClassification",
        frozenset({"span_head"}): f"{name}ForQuestionAnswering",
        frozenset({"choice_head"}): f"{name}ForMultipleChoice",
    }


def shapes(
    model: config.Model, rules: Sequence[Rule], tensors: Mapping[str, np.ndarray], outputs: int = 2
) -> dict[str, Any]:
    """The abstract parameters of the encoder and of the heads that are present, at least in part.

    Args:
      outputs: of a task's head, where it may have any number.
    """
    there = table.parts_in(rules, tensors) - bert.encoder_parts(model).keys()
    options = {"sequence_head": {"outputs": outputs}, "token_head": {"outputs": outputs}}
    return bert.abstract_params(
        model, heads.parts(model, *(use(head, **options.get(head, {})) for head in sorted(there)))
    )


def mlm_head_rules() -> list[Rule]:
    """The masked-language-model head, as BERT, NEZHA and RoFormer name it."""
    return [
        *dense("mlm_head/dense", "cls.predictions.transform.dense"),
        *norm("mlm_head/norm", "cls.predictions.transform.LayerNorm"),
        Rule("mlm_head/bias", "cls.predictions.bias", vocabulary=True),
    ]


def pretraining_tied(prefix: str) -> dict[str, str]:
    """What the decoder of BERT, NEZHA and RoFormer repeats."""
    return {
        "cls.predictions.decoder.weight": f"{prefix}.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }


def pretraining_architectures(name: str) -> dict[frozenset[str], str]:
    """The classes of BERT and NEZHA."""
    return {
        frozenset({"mlm_head", "pair_head"}): f"{name}ForPreTraining",
        frozenset({"mlm_head"}): f"{name}ForMaskedLM",
        frozenset({"pair_head"}): f"{name}ForNextSentencePrediction",
        frozenset(): f"{name}Model",
        **task_architectures(name),
    }
