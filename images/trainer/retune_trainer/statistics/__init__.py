"""What a paired comparison shows: bounds, chances and the smallest effect. Knows no model, store or spec."""
