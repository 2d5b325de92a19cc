"""What is measured while a run trains: time, memory, divergence."""
