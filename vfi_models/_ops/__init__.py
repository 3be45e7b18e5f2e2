"""Operations that several networks share: warps, padding, convolutions, Triton kernels, CUDA graphs."""
