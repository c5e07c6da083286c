"""The asv suite.  Kernels are ready, and pages touched, before anything but ``start`` is timed; one thread."""
