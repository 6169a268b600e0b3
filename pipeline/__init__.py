"""Media and inference: sound in, pictures out. No network, no aiortc, no wall clock."""
