"""The desk: a page on which a data owner watches what the line gives away."""
