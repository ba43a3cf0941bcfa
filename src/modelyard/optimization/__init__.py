"""Models made smaller or faster, with what that costs them measured: quantization, conversion to ONNX, and the search
for threads and batch. Each job runs in a process of its own (:mod:`modelyard.optimization.running`)."""
