"""The study as a whole: tables, figures, page, export, dashboard."""
