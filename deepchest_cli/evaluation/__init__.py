"""Predictions and the figures that are computed from them."""
