"""Runs under transformers 4.57.6, the last release with NEZHA: python nezha_oracle.py FOLDER ROWS.npz OUT.npz

A FOLDER that is not there is made, with random weights.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import NezhaConfig, NezhaForPreTraining, __version__

assert __version__ == "4.57.6"
folder, rows, out = map(Path, sys.argv[1:])
if not folder.exists():
    torch.manual_seed(0)
    model = NezhaForPreTraining(
        NezhaConfig(
            vocab_size=101,
            num_hidden_layers=2,
            num_attention_heads=3,
            hidden_size=24,
            intermediate_size=20,
            max_position_embeddings=40,
            max_relative_position=9,
            hidden_act="gelu_new",
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "LayerNorm.weight" in name else 0.0, 0.15)
    model.save_pretrained(folder)
model, report = NezhaForPreTraining.from_pretrained(folder, output_loading_info=True)
assert not any(report.values()), report
batch = np.load(rows)
with torch.no_grad():
    said = model.eval()(
        torch.tensor(batch["tokens"]),
        attention_mask=torch.tensor(batch["mask"]),
        token_type_ids=torch.tensor(batch["types"]),
        output_hidden_states=True,
    )
np.savez(
    out,
    prediction_logits=said.prediction_logits,
    pair_logits=said.seq_relationship_logits,
    hidden_states=np.stack(said.hidden_states),
)
