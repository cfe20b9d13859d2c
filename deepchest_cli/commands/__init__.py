"""The command line: each command parses, makes one core call and renders."""
