"""The parts of a sweep: what is varied, how one trial runs, the table and the picture."""
