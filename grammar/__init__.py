"""Text to syntax tree: the grammar (`te.lark`), the tree (`tree.py`) and the parser (`parser.py`)."""
