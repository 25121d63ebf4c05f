"""Loop IR to loop IR: the plain nest of a tensor program, the directives that rewrite it, `finalize`."""
