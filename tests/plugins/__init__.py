"""Variants outside the package, as a user has them: named by their module in a configuration."""
