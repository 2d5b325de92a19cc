"""Trainers of other libraries, as loops that report to a `Run`; each imports its library itself."""
