"""Stop rules over a trial's accuracy curve."""
