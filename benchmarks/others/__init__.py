"""Data that others have published, as studies: read where they are, imported as anybody would."""
