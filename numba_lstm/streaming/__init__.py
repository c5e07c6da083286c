"""States that are kept between calls."""
