"""CamemBERT (Martin et al. 2019, arXiv 1911.03894): CamembertModel, CamembertForMaskedLM. RoBERTa's rules."""

from bert_jax.formats.families import roberta

FAMILY = roberta.like("Camembert")
