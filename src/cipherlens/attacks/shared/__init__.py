"""Tools that several attacks use."""
