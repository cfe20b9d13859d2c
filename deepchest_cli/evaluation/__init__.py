"""Predictions and the metrics that are computed from them."""
