"""Every reason for which a site would fail, found before it does."""
