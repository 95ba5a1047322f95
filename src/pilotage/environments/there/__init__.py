"""Programs that are taken along and run where an environment is built: each one file, of the standard library alone."""
