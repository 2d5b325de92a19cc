"""Workers run trials: claim, watch, tell, retry."""
