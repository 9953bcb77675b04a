"""What is made from a results folder: networks, exports, latencies, figures, images, live pages."""
