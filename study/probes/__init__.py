"""What is measured before a search, and how it is shown."""
