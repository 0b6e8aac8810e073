"""Labelled samples -> packs, shards, directories; and the one reader of finished outputs."""
