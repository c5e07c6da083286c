"""What callers give, checked at once: in the order of torch, and in its words where it has some."""
