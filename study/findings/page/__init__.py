"""The report: one self-contained page, from the answer down to how it was measured."""
