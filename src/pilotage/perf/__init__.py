"""Benchmarks: parsl-perf sessions on any site, their records, comparisons that can be believed, tables and figures."""
