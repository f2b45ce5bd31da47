"""From the store to batches: rows, their order, their arrays. Nothing is kept between two batches."""
