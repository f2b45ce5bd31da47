"""What a run keeps: checkpoints, their checksums, and whether a configuration may go on from one."""
