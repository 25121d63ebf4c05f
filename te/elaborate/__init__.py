"""Syntax tree to tensor IR: names, dtypes, ranges, reads in range, reductions lifted, calls."""
