"""What a comparison leaves in its folder: tables, plots and the report."""
