"""The controlled comparison of weighters: runs, analysis and output."""
