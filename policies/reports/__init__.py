"""What rules said, as the programs that read it want it: one module a format, pure functions."""
