"""Stop rules over a trial's metric curve."""
