"""How calls travel to workers and back, and how Parsl's processes are started."""
