"""A config becomes a run; the run's objective goes back to the sweeper."""
