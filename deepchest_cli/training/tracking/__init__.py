"""Experiment trackers: TensorBoard, MLflow and Weights & Biases behind one contract."""
