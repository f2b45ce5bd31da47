"""BERT-flow: makes vectors isotropic by an invertible map, fit on these or on earlier vectors.

    python -m bert_jax.embed --model=DIR --input=texts.txt --output=vectors.npy --normalise=false
    python -m bert_jax.flow --vectors=vectors.npy --flow=flow.npz --output=flowed.npy

If the file of --flow is missing, the flow is fit and written; else it is read: queries use the flow of the documents.
Whitening does nearly as well (Su et al. 2021, arXiv 2103.15316), and can be exported with the encoder.
"""

from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from bert_jax.embedding import flow as flows
from bert_jax.embedding import unit, vector_file
from bert_jax.runtime import command
from configuration import cli


def define_flags() -> None:
    """--vectors, --flow, --output, --normalise, --epochs, --steps, --learning_rate, --seed"""
    flags.DEFINE_string("vectors", None, "File that bert_jax.embed wrote, .npy or .parquet.", required=True)
    flags.DEFINE_string("flow", None, "File of the flow, .npz; fit on the vectors where there is none.", required=True)
    flags.DEFINE_string("output", None, "File of vectors to write, .npy or .parquet.", required=True)
    flags.DEFINE_bool("normalise", True, "Write vectors of length 1.")
    flags.DEFINE_float("epochs", 1.0, "Passes over the vectors.", lower_bound=1e-6)
    flags.DEFINE_integer("steps", 8, "Steps of the flow.", lower_bound=1)
    flags.DEFINE_float("learning_rate", 1e-3, "Adam's, at the beginning.", lower_bound=0.0)
    flags.DEFINE_integer("seed", 0, "Of permutations, networks and batches.")


def main() -> dict[str, Any]:
    """The command."""
    f, output = cli.FLAGS, Path(cli.FLAGS.output)
    vector_file.check_ending(output)
    vectors, path = vector_file.read(Path(f.vectors)), Path(f.flow)
    figures: dict[str, Any] = {"output": str(output), "vectors": len(vectors), "fit": not path.exists()}
    if path.exists():
        flow = flows.read(path)
        flows.check_width(flow, vectors)
    else:
        options = {"epochs": f.epochs, "steps": f.steps, "learning_rate": f.learning_rate, "seed": f.seed}
        flow, likelihoods = flows.fit(vectors, **options)
        flows.save(flow, path)
        figures |= {"log_likelihood_before": likelihoods[0], "log_likelihood": float(np.mean(likelihoods[-10:]))}
        print(f"{path}: {likelihoods[0]:.1f} to {figures['log_likelihood']:.1f} nats a vector")
    facts = {"vectors": str(f.vectors), "flow": str(path), "normalise": f.normalise, "fit": path.stat().st_mtime_ns}
    with vector_file.opened(output, len(vectors), vectors.shape[1], facts) as file:
        while file.done < len(vectors):
            block = flows.apply(flow, vectors[file.done : file.done + flows.BLOCK])
            if f.normalise:
                block = unit(block)
            file.write(block)
    print(f"{output}: {len(vectors):,} vectors of {vectors.shape[1]}")
    return figures


if __name__ == "__main__":
    cli.run(command.computing(main), define_flags)
