"""torch's names, shapes, errors, modes and state dicts."""
