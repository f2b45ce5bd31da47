"""What a command that computes does before JAX starts."""

from collections.abc import Callable
from typing import Any

from absl import flags

from bert_jax.runtime import compilation_cache, heap


def computing(main: Callable[[], Any]) -> Callable[[], Any]:
    """A command's `main` with the flag --compilation_cache, which it follows, and with the heap tuned on a CPU."""
    compilation_cache.cache_flag()

    def started() -> Any:
        heap.tune()
        compilation_cache.start(flags.FLAGS.compilation_cache)
        return main()

    return started
