"""Typed configurations, variants found by name, flags and commands: what data_pipeline and bert_jax both build on."""
