"""Packages and pinned dependencies of bert_jax.

Python 3.11 stays at the last JAX that supports it; Python 3.12 follows the newest.
"""

from setuptools import find_packages, setup

JAX_311 = "0.10.2"
JAX_312 = "0.12.0.1"


def by_python(name: str, py311: str, py312: str) -> list[str]:
    return [
        f"{name}=={py311}; python_version < '3.12'",
        f"{name}=={py312}; python_version >= '3.12'",
    ]


FINETUNE = ["scikit-learn==1.9.1", "scipy==1.17.1", "seqeval==1.2.2"]

setup(
    name="bert_jax",
    version="0.1.0",
    description="BERT-family pretraining in JAX on TPU and GPU meshes",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["bert_jax*", "configuration*", "data_pipeline*"]),
    install_requires=[
        *by_python("jax", JAX_311, JAX_312),
        *by_python("flax", "0.12.8", "0.12.12"),
        *by_python("numpy", "2.4.6", "2.5.5"),
        "absl-py==2.5.1",
        "datasketch==2.0.0",
        "etils[epath]==1.15.0",
        "filelock==4.2.11",
        "fsspec==2026.9.0",
        "importlib_resources==7.1.0",  # TensorFlow Datasets opens what it ships by it, and does not name it
        "kitoken==0.11.1",
        "matplotlib==3.11.2",
        "optax==0.2.8",
        "orbax-checkpoint==0.12.8",
        "pyarrow==25.0.1",
        "pydantic==2.13.5",
        "safetensors==0.8.0",
        "sentencepiece==0.2.3",
        "tensorboardX==2.6.5",
        "tensorflow-cpu==2.21.0",
        "tensorflow-datasets==4.9.10",
        "tokenizers==0.23.3",
        "tqdm==4.70.1",
    ],
    extras_require={
        "test": [
            *FINETUNE,
            "faiss-cpu==1.15.1",
            "hypothesis==6.170.15",
            "import-linter==2.17",
            "jieba==0.42.1",
            "mypy==2.4.1",
            "optuna==5.0.0",
            "pytest==9.2.0",
            "pytest-xdist==3.8.0",
            "rjieba==0.2.2",
            "ruff==0.17.5",
            "sentence-transformers==6.2.0",
            "torch==2.13.0",
            "transformers==5.23.0",
        ],
        "finetune": FINETUNE,
        "torch": ["torch==2.13.0", "transformers==5.23.0"],
        "gpu": [
            f"jax[cuda13]=={JAX_311}; python_version < '3.12'",
            f"jax[cuda13]=={JAX_312}; python_version >= '3.12'",
        ],
        "tpu": [
            f"jax[tpu]=={JAX_311}; python_version < '3.12'",
            f"jax[tpu]=={JAX_312}; python_version >= '3.12'",
        ],
        "chinese": ["rjieba==0.2.2"],
        "beam": ["apache-beam==2.77.0"],
        "search": ["faiss-cpu==1.15.1"],
        "sweep": ["optuna==5.0.0"],
        "bench": [
            "accelerate==1.15.0",
            "datasets==5.2.0",
            "jieba==0.42.1",
            "rjieba==0.2.2",
            "sentence-transformers==6.2.0",
            "torch==2.13.0",
            "transformers==5.23.0",
        ],
    },
)
