"""The analysis of a comparison: metrics, tests of differences, claims and summary."""
