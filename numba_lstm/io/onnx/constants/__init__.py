"""What an ONNX graph says before it runs: its operations, evaluated where their inputs are known."""
