"""The files of a comparison: tables, plots and the report."""
