"""What the results mean: front, tables, figures, report, dashboard."""
