"""The fused convolution, pooling and relu of the CPU: built once with the machine's C compiler, and used where it is there."""
