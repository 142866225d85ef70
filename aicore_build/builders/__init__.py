"""Ways to build an image and to put it into its registry."""
