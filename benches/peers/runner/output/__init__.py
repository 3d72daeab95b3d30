"""What a run leaves behind, from its figures: the tables, the picture, and README's short table.

    report   every table as text
    plot     the picture
    readme   README's short table, from the JSON file of a run

Must never measure anything.
"""
