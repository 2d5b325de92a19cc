"""Several runs of one batch size, trained together as one vectorised run."""
