"""Where a run's supervisor and driver live: on this machine, or on a login host."""
