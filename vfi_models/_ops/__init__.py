"""What every network shares: the seam, warp, padding, checkpoint reading."""
