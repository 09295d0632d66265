"""What JPEG's grid gives away, where it lies on the cipher's: coefficients are whole numbers of known steps."""
