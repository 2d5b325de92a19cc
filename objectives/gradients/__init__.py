"""Measurements on gradients: noise scale, norms, sharpness."""
