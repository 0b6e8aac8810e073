"""Files of any format and place -> rows: listing, inspection, cutting into slices, reading."""
