"""The composition root: from sites to Parsl's objects, scripts and stand-alone configs.

The only room that knows every part below it.
"""
