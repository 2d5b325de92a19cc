"""What to train with: one recommendation, what a fresh run will reach there, and why."""
