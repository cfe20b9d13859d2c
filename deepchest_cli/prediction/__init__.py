"""From image files to answers: inputs, networks, oddities, heat maps and exported models.

Only `torch_network`, `heatmaps` and `export` import torch: an ONNX model answers without it.
"""
