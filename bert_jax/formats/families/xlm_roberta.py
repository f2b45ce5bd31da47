"""XLM-RoBERTa (Conneau et al. 2019, arXiv 1911.02116): XLMRobertaModel, XLMRobertaForMaskedLM. RoBERTa's rules."""

from bert_jax.formats.families import roberta

FAMILY = roberta.like("XLMRoberta", model_type="xlm-roberta")
