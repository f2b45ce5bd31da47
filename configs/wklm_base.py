"""WKLM-base (Xiong et al. 2019), 108M parameters: names are replaced by others of their kind, and found out.

    python -m data_pipeline.prepare --config=configs/wklm_base.py --output=stores/english \\
        --config.data.tokenizer=checkpoint --config.data.tokenizer.folder=path/to/bert-base-cased
    python -m bert_jax.train --config=configs/wklm_base.py --config.data.store=stores/english --workdir=RUN \\
        --config.init_from=path/to/bert-base-cased

Source: arXiv 1912.09637, section 3: goes on from the weights of BERT-base; names give way to others of the same kind,
no two neighbours among them, and each is judged by the tokens before and after it; beside that 5% of the tokens outside
names are masked; rows of 512 tokens.
Expected: on four sets of questions about entities an F1 2.7 above BERT's on average, on FIGER an accuracy 5.7 above, in
the paper, after fine-tuning (not checked).
Needs: 6.6e10 tokens.
Text: text/*.txt, a blank line between documents: English Wikipedia.
Departs: names by their capitals, of one kind, where the paper has the links of Wikipedia and the types of Wikidata:
lists of names, a file for each kind, go into config.data.annotations.0.lists; a name is replaced by one of as many
tokens of the same batch; cased text, without which there are no capitals; 30% of the names are replaced.
Not checked: 1M steps of 128 rows at a peak of 1e-5, a warm-up of a hundredth, decay of the weights.
"""

from bert_jax.config import Config, Data, Model, Phase, use

config = Config(
    name="wklm_base",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("wordpiece", vocab_size=28996),
        annotations=(use("entities"),),
    ),
    model=Model(vocab_size=28996, dtype="bfloat16"),
    objective=use("entity_replacement", mask_rate=0.05, replaced=0.3),
    optimizer=use("adamw", b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01),
    phases=(
        Phase(
            steps=1_000_000,
            length=512,
            batch_size=128,
            learning_rate=1e-5,
            schedule=use("linear", warmup=10_000),
        ),
    ),
)
