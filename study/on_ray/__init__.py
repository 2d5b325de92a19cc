"""Workers on an existing Ray cluster."""
