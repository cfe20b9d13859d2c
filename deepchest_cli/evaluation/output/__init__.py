"""What an evaluation leaves behind: report, plots, tables, model card."""
