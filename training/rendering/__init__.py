"""What the pictures of drawn parts are made of: stencils, a surface, what damages it, and the camera that looks at it."""
