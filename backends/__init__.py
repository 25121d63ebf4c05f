"""Loop IR to something that runs: one package a backend, each with `emit` and `load`."""
