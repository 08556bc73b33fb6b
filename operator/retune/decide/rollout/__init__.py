"""How a candidate meets its users, step by step, and what takes it back. Pure: facts in, decisions out."""
