"""Images of our own: what is laid into them, how one is looked at, and how one runs."""
