"""BERT-family pretraining in JAX on TPU and GPU meshes."""
