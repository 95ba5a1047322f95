"""What runs on compute nodes. Imports nothing of pilotage but itself."""
