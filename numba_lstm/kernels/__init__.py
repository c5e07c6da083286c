"""What is compiled: the loop over time and all that it calls."""
