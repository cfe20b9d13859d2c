"""The one reader of tables: files, columns and their roles, label cells, ages, sexes, views."""
