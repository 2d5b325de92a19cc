"""Tables with named columns, made ready for training."""
