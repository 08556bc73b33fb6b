"""What makes a run due, what holds it back, and what the status says of both. Pure rules and words of a job."""
