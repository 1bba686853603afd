"""Long work that survives: a folder with one finished unit per slice, and whoever works on it.

Everything that a unit follows from stands in the folder or in the input, so that another process, on another
day or another machine, does the units that are missing, to the same bytes.
"""
