"""Forward passes that keep what gradients need, and backward passes."""
