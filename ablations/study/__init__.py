"""One experiment on one recipe as plain values, and as the four files that hold them."""
