"""The training loop, its optimization and the run directory."""
