"""Lifetimes, threads, clocks and peer connections: the server around the pipeline."""
