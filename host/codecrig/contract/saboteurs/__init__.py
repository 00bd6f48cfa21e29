"""Defects with a name: for each rule at least one on which its check fails."""
