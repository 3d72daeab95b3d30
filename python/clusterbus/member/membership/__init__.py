"""How a member comes into a cluster, and how it leaves for good: what takes more than one order and more than one tick.

seeds     addresses by which a member finds its cluster
joining   how it joins by them, once or whenever it is alone
leaving   how it has every other member forget it
"""
