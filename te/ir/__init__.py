"""The two IRs, tensor and loop, and what serves both: expressions, types, walker, simplifier, printer."""
