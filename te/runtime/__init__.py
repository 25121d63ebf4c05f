"""What a compiled kernel needs to be called: argument binding, memory, the object cache."""
