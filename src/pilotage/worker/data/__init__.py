"""Files and folders to and from where they are kept: by tasks on their workers, by the driver, and by ``pilotage cp``.

A `Place` is a URL taken apart, a `Store` what can be done with one kind of place, and `copying` the one way in which
bytes move: under a name that nobody looks for, checked, and given its own name once it is whole.
"""
