"""What the soak shows: `progress` while it runs, `report` and `picture` at its end."""
