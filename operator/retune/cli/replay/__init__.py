"""`replay`: a job's stop-loss run over past data, by the operator's own judge. Nothing here writes to a cluster."""
