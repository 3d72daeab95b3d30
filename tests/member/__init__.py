"""The member layer: more than a dozen modules, since each module of it has one of its own."""
