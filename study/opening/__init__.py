"""Studies are created, resumed, or only looked at."""
