"""One check of everything that only a CUDA device can show: `make gpu-check`."""
