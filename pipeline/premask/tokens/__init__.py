"""Text -> token ids, by an engine whose ids are checked, and the bytes each token covers."""
