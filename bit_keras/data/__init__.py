"""Named sets, folders and arrays as batches."""
