"""Second-order statistics of blocks: the covariance attack and its parts."""
