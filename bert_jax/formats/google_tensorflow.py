"""Google's TensorFlow checkpoints of BERT and ALBERT, and NEZHA's: bert_config.json beside bert_model.ckpt.*.

Kernels are [in, out] as ours are. Their GELU is the tanh approximation, even where PyTorch's copy uses erf.
"""

from pathlib import Path

import numpy as np

from bert_jax import config
from bert_jax.formats import family, table
from bert_jax.formats.families import albert
from bert_jax.formats.table import Params, Rule
from configuration import foreign
from configuration.foreign import FormatError
from configuration.variants import Variant, use

OF_TRAINING = ("adam_m", "adam_v", "lamb_m", "lamb_v")  # last parts of the names of an optimizer's moments
HUB = "module/"  # what TensorFlow Hub puts before every name
COUNTERS = ("global_step", "loss_scale", "good_steps", "bad_steps")


def is_here(folder: Path) -> bool:
    """Whether a folder looks like one of Google's."""
    return bool(list(folder.glob("*.index"))) and bool(list(folder.glob("*config.json")))


def read(folder: Path) -> tuple[config.Model, Params]:
    """The encoder of a folder. Heads that it lacks are left out of the parameters.

    Raises:
      FormatError: no or several checkpoints, or weights missing, unknown or misshapen (all of them listed).
    """
    checkpoint = only(folder, "*.index").with_suffix("")
    tensors, model = read_checkpoint(checkpoint), read_model(folder)
    rules = albert_rules() if model.embedding_width else bert_rules()
    return model, table.restore(rules, model, family.shapes(model, rules, tensors), tensors, str(checkpoint))


def read_model(folder: Path) -> config.Model:
    """The encoder's configuration alone, without heads."""
    file = only(folder, "*config.json")
    settings = foreign.read_json(file)
    foreign.check_types(family.Known, settings, str(file))
    with foreign.understood(file):
        settings |= {"hidden_act": activation(settings)}
        if "embedding_size" in settings:
            return albert.model(settings)
        return family.common_model(settings, positions=positions(settings))


def read_checkpoint(checkpoint: Path) -> dict[str, np.ndarray]:
    """The variables of a checkpoint by name, without those of training.

    Raises:
      FormatError: it cannot be read.
    """
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(checkpoint))
        names = [name for name in reader.get_variable_to_shape_map() if name not in COUNTERS]
        kept = [name for name in names if name.rsplit("/", 1)[-1] not in OF_TRAINING]
        return {name.removeprefix(HUB): reader.get_tensor(name) for name in kept}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise FormatError(
            f"{checkpoint} cannot be read as a TensorFlow checkpoint: {str(error).splitlines()[0]}"
        ) from None


def activation(settings: dict) -> str:
    """The name by which PyTorch knows what Google calls gelu."""
    named = settings.get("hidden_act", "gelu")
    return "gelu_new" if named == "gelu" else named


def positions(settings: dict) -> Variant:
    """NEZHA's code clips at 64 unless its configuration says otherwise."""
    if settings.get("use_relative_position"):
        return use("functional_relative", max_distance=settings.get("max_relative_position", 64))
    return use("absolute")


def bert_rules() -> list[Rule]:
    """The names of BERT and NEZHA."""
    layer = "bert/encoder/layer_{layer}"
    return [
        *attention(f"{layer}/attention"),
        *norm("layers/attention/norm", f"{layer}/attention/output"),
        *dense("layers/mlp/up", f"{layer}/intermediate/dense"),
        *dense("layers/mlp/down", f"{layer}/output/dense"),
        *norm("layers/mlp/norm", f"{layer}/output"),
        *around_the_layers(),
    ]


def albert_rules() -> list[Rule]:
    """The names of ALBERT."""
    layer = "bert/encoder/transformer/group_{layer}/inner_group_0"
    return [
        *attention(f"{layer}/attention_1"),
        *norm("layers/attention/norm", layer),
        *dense("layers/mlp/up", f"{layer}/ffn_1/intermediate/dense"),
        *dense("layers/mlp/down", f"{layer}/ffn_1/intermediate/output/dense"),
        *norm("layers/mlp/norm", layer, "LayerNorm_1"),
        *dense("embeddings/projection", "bert/encoder/embedding_hidden_mapping_in"),
        *around_the_layers(),
    ]


def attention(theirs: str) -> list[Rule]:
    """Queries, keys, values and output."""
    return [
        *dense("layers/attention/query", f"{theirs}/self/query"),
        *dense("layers/attention/key", f"{theirs}/self/key"),
        *dense("layers/attention/value", f"{theirs}/self/value"),
        *dense("layers/attention/output", f"{theirs}/output/dense", inputs=2),
    ]


def around_the_layers() -> list[Rule]:
    """Embeddings and heads."""
    head = "cls/predictions/transform"
    return [
        Rule("embeddings/word/embedding", "bert/embeddings/word_embeddings", inputs=1, vocabulary=True),
        Rule("embeddings/position/embedding", "bert/embeddings/position_embeddings", inputs=1),
        Rule("embeddings/token_type/embedding", "bert/embeddings/token_type_embeddings", inputs=1),
        *norm("embeddings/norm", "bert/embeddings"),
        *dense("pooler", "bert/pooler/dense"),
        *dense("mlm_head/dense", f"{head}/dense"),
        *norm("mlm_head/norm", head),
        Rule("mlm_head/bias", "cls/predictions/output_bias", vocabulary=True),
        Rule("pair_head/kernel", "cls/seq_relationship/output_weights", inputs=1, transposed=True),
        Rule("pair_head/bias", "cls/seq_relationship/output_bias"),
    ]


def dense(ours: str, theirs: str, inputs: int = 1) -> list[Rule]:
    """A kernel and its bias."""
    return [Rule(f"{ours}/kernel", f"{theirs}/kernel", inputs=inputs), Rule(f"{ours}/bias", f"{theirs}/bias")]


def norm(ours: str, theirs: str, name: str = "LayerNorm") -> list[Rule]:
    """A LayerNorm."""
    names = (("scale", "gamma"), ("bias", "beta"))
    return [Rule(f"{ours}/{mine}", f"{theirs}/{name}/{google}") for mine, google in names]


def only(folder: Path, pattern: str) -> Path:
    """The one file of a folder that fits a pattern.

    Raises:
      FormatError: none, or several.
    """
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise FormatError(f"{folder} must have one file {pattern}; it has {found}")
    return files[0]
