"""What a trial stores, and what stored trials say of costs and fronts."""
