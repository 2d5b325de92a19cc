"""The machine of a worker: its cores and devices, signals, which processes live."""
