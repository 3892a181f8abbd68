"""Code that runs inside the account, as functions; imports nothing of ours."""
