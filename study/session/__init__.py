"""What a person starts and sees of a search."""
