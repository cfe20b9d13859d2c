"""Radiographs and labels: sources, splits, shards, batches, augmentation."""
