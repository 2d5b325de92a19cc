"""What a study is asked: settings, space, budgets, recipe, and what must not change."""
