"""Files and folders of tasks, as Parsl's staging: what stands for the driver here; the rest is in ``worker.data``."""
