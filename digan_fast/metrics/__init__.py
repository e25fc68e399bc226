"""How near pictures are to others: a module for each measure, with a function of its name."""
