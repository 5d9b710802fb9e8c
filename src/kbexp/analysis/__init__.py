"""What the results of several runs say together."""
