"""Watching a schedule at work: the loops after each line, what they cost, and how long they take."""
