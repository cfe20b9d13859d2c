"""What an evaluation leaves behind: report, pictures, tables, model card."""
