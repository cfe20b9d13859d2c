"""Weighters compared on equal terms: their runs, the tests of their differences, the report."""
