"""Where data lies: in folders of this machine, or in object storage, by URL."""
