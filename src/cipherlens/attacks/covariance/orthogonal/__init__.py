"""What keys with orthogonal matrices give away: blocks keep their length, and colours their strength."""
