"""Storms as people run: `batchfront run` commands that train with torch and keep checkpoints."""
