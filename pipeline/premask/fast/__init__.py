"""The fast path: batches of plain rows, without an object per message. It changes the speed, not a byte."""
