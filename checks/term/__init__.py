"""A term: rules on attempts make points, a table of them and a page."""
