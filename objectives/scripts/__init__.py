"""Functions written for Optuna, `objective(trial)`, as training loops of a study here."""
