"""Processes end at every single write of a trial's life; nothing may be lost, wrong or taken."""
