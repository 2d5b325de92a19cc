"""Runs are brought in, studies are moved out."""
