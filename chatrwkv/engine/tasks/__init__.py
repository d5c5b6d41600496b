"""Long jobs beside replies; they return floats, text or Snapshots, so that callers never name torch."""
