"""``staging_file.py PEER MEGABYTES FILES``: one large file and many small ones, see `transfers`."""

from transfers import run

if __name__ == "__main__":
    run("file")
