"""Hugging Face's Trainer on the labelled sets of our tasks: what the benchmarks of fine-tuning share; not a command."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.config import FineTuning

IGNORED = -100  # the label that PyTorch's cross-entropy leaves out


def items_of(encoded: Any, kind: str) -> list[dict[str, Any]]:
    """The examples as the Trainer takes them: the ids that we read, and a label, a number or tags."""

    def labels_of(number: int, first: int, end: int) -> Any:
        if kind == "tagging":
            counted = encoded.per_token["tag_weights"][first:end] > 0
            return np.where(counted, encoded.per_token["tags"][first:end], IGNORED).tolist()
        return encoded.per_example["labels"][number].item()

    spans = zip(encoded.offsets[:-1].tolist(), encoded.offsets[1:].tolist(), strict=True)
    return [
        {
            "input_ids": encoded.tokens[first:end].tolist(),
            "token_type_ids": encoded.token_types[first:end].tolist(),
            "labels": labels_of(number, first, end),
        }
        for number, (first, end) in enumerate(spans)
    ]


def collate(batch: Sequence[Mapping[str, Any]], pad_id: int, length: int = 0) -> dict[str, Any]:
    """Examples padded to `length`, or to the longest."""
    import torch

    length = length or max(len(item["input_ids"]) for item in batch)
    pad = lambda name, empty: torch.tensor([item[name] + [empty] * (length - len(item[name])) for item in batch])
    lengths = torch.tensor([len(item["input_ids"]) for item in batch])
    tagged = isinstance(batch[0]["labels"], list)
    return {
        "input_ids": pad("input_ids", pad_id),
        "token_type_ids": pad("token_type_ids", 0),
        "attention_mask": (torch.arange(length)[None] < lengths[:, None]).long(),
        "labels": pad("labels", IGNORED) if tagged else torch.tensor([item["labels"] for item in batch]),
    }


def make(model: Any, task: FineTuning, items: Any, collate: Any, folder: Path, **others: Any) -> Any:
    """A Trainer with the task's settings, which writes and says nothing; `others` are of its TrainingArguments."""
    import torch
    import transformers

    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=task.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=task.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=task.schedule.options["warmup"],
        weight_decay=task.optimizer.options["weight_decay"],
        adam_epsilon=task.optimizer.options.get("eps", 1e-6),
        max_grad_norm=task.clip_norm,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **others,
    )
    run = transformers.Trainer(model, arguments, data_collator=collate, train_dataset=items)
    run.remove_callback(transformers.PrinterCallback)
    return run
