"""What a CUDA machine does with this project, in ten minutes: `python -m benchmarks.gpu`."""
