"""The command `bit-keras`: flags to one call of the package."""
