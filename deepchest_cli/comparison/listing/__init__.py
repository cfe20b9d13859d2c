"""What runs and comparisons there are below a folder, read from small text files alone."""
