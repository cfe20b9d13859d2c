"""The training loop, its optimisation and the run directory."""
