"""Real clusters on this machine, to try sites on and to test with.

Each host is a set of namespaces with one process that holds them, so that nothing of it can outlive that process.
"""
