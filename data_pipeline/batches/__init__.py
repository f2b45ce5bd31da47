"""From the store to batches: rows, their order, their arrays. No state is kept between batches."""
