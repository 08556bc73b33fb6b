"""Tells MLflow and Weights & Biases of a run that has ended, once its report is written. Only the report pod does."""
