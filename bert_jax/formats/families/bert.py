"""BERT (Devlin et al. 2018): BertModel, BertForMaskedLM, BertForPreTraining, BertForNextSentencePrediction."""

from bert_jax.formats import family

PREFIX = "bert"

FAMILY = family.Family(
    prefix=PREFIX,
    model=family.common_model,
    settings=family.common_settings,
    rules=lambda model, settings: [
        *family.encoder_rules(PREFIX),
        family.embedding("embeddings/position", f"{PREFIX}.embeddings.position_embeddings"),
        *family.pretraining_head_rules(),
    ],
    tied=family.pretraining_tied(PREFIX),
    architectures=family.pretraining_architectures("Bert"),
    preference=6,
    special_ids={"pad_token_id": 0},
)
