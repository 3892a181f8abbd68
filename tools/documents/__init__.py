"""The documents that are written from the program, so that they cannot disagree with it."""
