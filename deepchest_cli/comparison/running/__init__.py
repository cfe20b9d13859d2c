"""The runs of a comparison of weighters, from the same weights on the same batches."""
