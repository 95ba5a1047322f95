"""The report of benchmarks: figures, one page that needs nothing else, and the numbers as files."""
