"""One supervised execution of a workflow: order, driver, progress, view."""
