"""Recorded training curves: read, written, played back."""
