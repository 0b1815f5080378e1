"""Files that a learning platform lets an instructor download, filled, as it lets them upload them."""
