"""Data sets that are downloaded on first use, in the formats their authors publish."""

DATA_DIR = "runs/data"  # where they are kept unless told otherwise; git ignores it
