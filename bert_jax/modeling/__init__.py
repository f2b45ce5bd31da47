"""The encoder: Flax modules define the parameters; everything around them is plain JAX on nested dicts."""
