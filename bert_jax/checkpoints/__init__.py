"""What a run keeps: checkpoints, their checksums, and whether a configuration may resume from one."""
