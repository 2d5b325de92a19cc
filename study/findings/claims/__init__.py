"""Common beliefs about batch size, held against a study."""
