"""The best learning rate of each batch size, and its law."""
