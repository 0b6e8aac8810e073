"""premask: chat data in, training shards with the loss mask already in them out."""

__version__ = "0.1.0"
