"""What puts several packages together: training that starts from what an attack found."""
