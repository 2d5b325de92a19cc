"""What the command line and Python code can ask for: `batchfront.Study`, and what verbs call."""
