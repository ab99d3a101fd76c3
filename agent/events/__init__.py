"""Events: their form, and the file that keeps them until the broker and a collector have them."""
