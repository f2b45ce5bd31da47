"""The TPU compiler, where the extra `tpu` is installed: it compiles for a slice of chips without one."""

import importlib.util
import os

import pytest

from bert_jax import config
from bert_jax.runtime import sharding


@pytest.fixture(scope="session")
def v5e_mesh():
    """Makes meshes of the 16 chips of a v5e:4x4 slice: `v5e_mesh(data=8, tensor=2)`."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed (extra tpu)")
    from jax.experimental import topologies

    os.environ.update(TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
    chips = topologies.get_topology_desc(platform="tpu", topology_name="v5e:4x4").devices
    return lambda **sizes: sharding.make_mesh(config.Mesh(**sizes), chips)
