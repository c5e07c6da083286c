"""What NumPy writes: one array in a file, or several in an archive."""
