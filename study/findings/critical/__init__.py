"""The critical batch size: steps and examples to a target."""
