"""From the sizes of a call and a machine to the numbers that a launch is told."""
