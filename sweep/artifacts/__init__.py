"""Products of a results folder: networks, exports, latencies, figures, images and the live report."""
