"""From image files to predictions: inputs, networks, input checks, heat maps, exported models.

Only `torch_network`, `heatmaps` and `export` import torch: an ONNX model predicts without it.
"""
