"""Where radiographs come from: a reader for each form in which people hold these data."""
