"""The training state, its step, where a run starts, and what it does when a step goes wrong."""
