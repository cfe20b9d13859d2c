"""The runs of a comparison, from the same initial weights on the same batches."""
