"""Running a command here or on a login host."""
