"""The topology for cluster clients: what they know, and how they are told."""
