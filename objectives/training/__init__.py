"""Our training loop, and what a recipe changes of it."""
