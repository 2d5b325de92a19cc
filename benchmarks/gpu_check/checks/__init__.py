"""A module for each check: `check(bench)` yields rows."""
