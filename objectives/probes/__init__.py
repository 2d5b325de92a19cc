"""Short runs before a search: cost, range of learning rates."""
