"""The fused convolution, pooling and relu: in C for the CPU (built on first use), in Triton for GPUs."""
