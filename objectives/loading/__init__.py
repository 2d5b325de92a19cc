"""Data as people have it: datasets, loaders, and batches of any shape."""
