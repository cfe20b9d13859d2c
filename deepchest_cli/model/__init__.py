"""Backbones, the multi-label classifier and its checkpoint."""
