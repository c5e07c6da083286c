"""What this machine lets a process use: threads, shares of CPUs, cores that are idle, pipes that others share."""
