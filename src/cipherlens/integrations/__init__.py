"""Where other libraries' users expect things: transforms of torchvision."""
