"""From a call to launches: packed weights, the plan of a call, and the threads that do it."""
