"""Shows a store: counts, lengths, what cleaning removed, and rows with their masks.

    python -m bert_jax.inspect --store=stores/mine --html=store.html

With --config, rows and masks are those of that configuration.
"""

from typing import Any

from absl import flags

from bert_jax.analysis import inspection
from configuration import cli
from configuration import flags as config_flags
from data_pipeline.store import Store


def define_flags() -> None:
    """--config, --store, --html"""
    config_flags.config_flag(required=False)
    flags.DEFINE_string("store", None, "Folder of the store, local or remote.", required=True)
    flags.DEFINE_string("html", "", "Also write a page to this file.")


def main() -> dict[str, Any]:
    """The command."""
    store = Store.open(cli.FLAGS.store)
    if cli.FLAGS.config:
        config = config_flags.from_flags()
    else:
        config = config_flags.override(inspection.default_config(store), config_flags.given())
    return inspection.run(store, config, cli.FLAGS.html)


if __name__ == "__main__":
    cli.run(main, define_flags)
