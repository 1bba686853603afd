"""The step of the fit as an ONNX graph, and ONNX Runtime to run it: for cards that torch has no build for."""
