"""Which runs a finding lacks, so that a person can have them made."""
