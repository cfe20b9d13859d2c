"""Predictions and labels from files that anybody wrote."""
