"""The face in napari: the only room that imports napari, magicgui or qtpy. Nothing imports it."""
