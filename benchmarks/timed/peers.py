"""The peers' side: BERT and ModernBERT of transformers in a plain loop in PyTorch, at their best.

bf16 by autocast where the processor has instructions for it, SDPA attention, fused AdamW, gradients clipped at 1, no
dropout, which a short training does not need, and logits at the predicted places alone. The rows are those of
transformers' run_mlm.py: documents `[CLS] … [SEP]`, concatenated and cut, so that none has padding; they are in memory
before the clock starts.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

import torch
import transformers
from torch.nn.functional import cross_entropy

from benchmarks.timed import Asked, Rows, check_rows
from bert_jax.runtime.precision import fastest
from data_pipeline.store import Store

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WARMUP, DECAY = 0.1, 0.4  # shares of the steps, as the demo's
BETAS, EPSILON, WEIGHT_DECAY, CLIP = (0.9, 0.98), 1e-6, 0.01, 1.0


class Network(NamedTuple):
    """A model, and how it is called without its own loss."""

    model: torch.nn.Module
    encoder: Callable[..., Any]
    head: Callable[[torch.Tensor], torch.Tensor]  # [..., D] → [..., V]


class Peer:
    """A `System`."""

    def __init__(self, asked: Asked, store: str):
        torch.set_num_threads(os.cpu_count() or 1)
        torch.manual_seed(asked.seed)
        opened = Store.open(store)
        self._asked, self._tokenizer, self._vocab_size = asked, opened.tokenizer, opened.vocab_size
        self._rows = torch.from_numpy(full_rows(opened, asked.length))
        check_rows(asked, store, len(self._rows))
        self._network = NETWORKS[asked.family](asked, opened)
        self._network.model.to(DEVICE).train()
        self._initial = {name: x.clone() for name, x in self._network.model.state_dict().items()}
        self._loss_of = torch.compile(self._loss) if "compiled" in asked.ways else self._loss
        dtype = "bfloat16" if DEVICE == "cuda" else fastest("cpu")[0]
        self._dtype = getattr(torch, "float32" if "float32" in asked.ways else dtype)
        self.head_start = 0.0
        self.facts: dict[str, Any] = {
            "dtype": str(self._dtype).removeprefix("torch."),
            "parameters": sum(x.numel() for x in self._network.model.parameters()),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }

    def begin(self, steps: int) -> None:
        torch.manual_seed(self._asked.seed)
        self._network.model.load_state_dict(self._initial)
        self._optimizer = adamw(self._network.model, self._asked.learning_rate)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: trapezoid(step, steps))
        self._batches = shuffled(len(self._rows), self._asked.batch_size, self._asked.seed)

    def step(self) -> None:
        shown, places, targets = self._masked(self._rows[next(self._batches)].to(DEVICE).long())
        with torch.autocast(DEVICE, self._dtype, enabled=self._dtype != torch.float32):
            loss = self._loss_of(shown, places, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._network.model.parameters(), CLIP)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._last = loss.detach()

    def wait(self) -> None:
        float(self._last)

    def _masked(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens [B, L] as shown, places and targets [B, P]: of the text, 80% [MASK], 10% random, 10% unchanged."""
        t = self._tokenizer
        special = (tokens == t.cls_id) | (tokens == t.sep_id)
        drawn = torch.rand(tokens.shape, device=DEVICE).masked_fill(special, -1.0)
        places = drawn.topk(max(1, round(self._asked.mask_rate * self._asked.length))).indices
        targets = tokens.gather(1, places)
        kind = torch.rand(places.shape, device=DEVICE)
        words = torch.randint(0, self._vocab_size, places.shape, device=DEVICE)
        instead = torch.where(kind < 0.8, t.mask_id, torch.where(kind < 0.9, words, targets))
        return tokens.scatter(1, places, instead), places, targets

    def _loss(self, shown: torch.Tensor, places: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = self._network.head(at(self._network.encoder(input_ids=shown)[0], places))
        return cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def logits(self, rows: Rows) -> np.ndarray:
        tokens, places = (torch.from_numpy(rows[name]).to(DEVICE).long() for name in ("tokens", "target_positions"))
        mask = torch.from_numpy(rows["segments"] > 0).to(DEVICE).long()
        with torch.no_grad():
            hidden = self._network.encoder(input_ids=tokens, attention_mask=mask)[0]
            return self._network.head(at(hidden, places)).float().cpu().numpy()


def at(hidden: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """[B, L, D] and [B, P] → [B, P, D]."""
    return hidden[torch.arange(len(hidden), device=hidden.device)[:, None], places]


def bert(asked: Asked, store: Store) -> Network:
    """BertForMaskedLM."""
    config = transformers.BertConfig(
        vocab_size=store.vocab_size,
        num_hidden_layers=asked.layers,
        hidden_size=asked.width,
        num_attention_heads=asked.heads,
        intermediate_size=4 * asked.width,
        max_position_embeddings=asked.length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=store.tokenizer.pad_id,
        attn_implementation="sdpa",
    )
    model = transformers.BertForMaskedLM(config)
    return Network(model, model.bert, model.cls)


def modernbert(asked: Asked, store: Store) -> Network:
    """ModernBertForMaskedLM, which with `sparse_prediction` computes these same logits by a slower selection.

    The way "global" has no local layers, which need a mask, and their rotary base, which suits short rows, everywhere.
    """
    t = store.tokenizer
    rotary = {"rope_type": "default", "rope_theta": 10_000.0}
    everywhere = {
        "layer_types": ["full_attention"] * asked.layers,
        "rope_parameters": {"full_attention": rotary, "sliding_attention": rotary},
    }
    config = transformers.ModernBertConfig(
        vocab_size=store.vocab_size,
        num_hidden_layers=asked.layers,
        hidden_size=asked.width,
        num_attention_heads=asked.heads,
        intermediate_size=asked.gated_width,
        max_position_embeddings=asked.length,
        pad_token_id=t.pad_id,
        cls_token_id=t.cls_id,
        sep_token_id=t.sep_id,
        bos_token_id=t.cls_id,
        eos_token_id=t.sep_id,
        attn_implementation="sdpa",
        **(everywhere if "global" in asked.ways else {}),
    )
    model = transformers.ModernBertForMaskedLM(config)
    return Network(model, model.model, lambda hidden: model.decoder(model.head(hidden)))


NETWORKS = {"bert": bert, "modernbert": modernbert}


def full_rows(store: Store, length: int) -> np.ndarray:
    """int32 [R, L]: the training documents as `[CLS] … [SEP]`, concatenated and cut; the last tokens are left out."""
    cls, sep = store.tokenizer.cls_id, store.tokenizer.sep_id
    text: list[Any] = []
    for shard in store.split("train").shards:
        inner = shard.sentence_offsets[shard.document_offsets[1:-1]].astype(np.int64)  # between two documents
        joined = np.insert(shard.tokens, np.repeat(inner, 2), np.tile([sep, cls], len(inner)))
        text += [[cls], joined, [sep]]
    flat = np.concatenate(text).astype(np.int32)
    return flat[: len(flat) // length * length].reshape(-1, length)


def shuffled(number: int, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Numbers of rows [B] without end, in another order each epoch; what does not fill a batch is left out."""
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.permutation(number)[: number // batch_size * batch_size].reshape(-1, batch_size)


def adamw(model: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """AdamW whose decay leaves out biases and norms, as is usual."""
    groups = [
        {"params": [x for x in model.parameters() if x.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [x for x in model.parameters() if x.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, eps=EPSILON, fused=True)


def trapezoid(step: int, steps: int) -> float:
    """Share of the peak at a step, from 0: warm-up, constant, linear decay that ends with the last step."""
    return min(1.0, (step + 1) / max(1.0, WARMUP * steps), (steps - step) / max(1.0, DECAY * steps))
