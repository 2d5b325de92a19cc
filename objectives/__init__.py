"""Measures: trains one model once and says what happened. Knows neither Optuna nor storage."""
