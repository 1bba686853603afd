"""The mathematics: torch only, scriptable; no I/O, no numpy, no user validation."""
