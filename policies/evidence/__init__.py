"""The auditor pack: what the rules said of one stack on one day, so that it can be shown later."""
