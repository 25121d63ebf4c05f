"""Syntax tree to tensor IR: names, dtypes, shapes, ranges, reads proved in range, reductions lifted."""
