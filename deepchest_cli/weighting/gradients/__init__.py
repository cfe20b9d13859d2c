"""Weighters that need the gradients of single tasks: one a file, torchjd behind an adapter."""
