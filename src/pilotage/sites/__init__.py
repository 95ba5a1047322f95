"""What a site is: models, catalogue, overrides, plan. Pure: no process, no network, no Parsl."""
