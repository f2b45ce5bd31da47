"""The training state, its step, where a run starts, and what happens when a step fails."""
