"""Measure presets on images whose truth is known: ``napari-vdip benchmark``.

`campaign.run` is the function under the command. What belongs to one task has a module of its own:
`cases` finds the images, `figures` measures a result, `reference` is the known kernel's result,
`steps` times the steps of a preset, `worker` runs in the process of one fit and `processes` starts it,
`table` holds the rows on disk, `summary` and `plots` tell them.
"""
