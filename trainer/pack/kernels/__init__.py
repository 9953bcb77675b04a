"""The fused convolution, pooling and relu: for the CPU in C, built at first use; for GPUs in Triton."""
