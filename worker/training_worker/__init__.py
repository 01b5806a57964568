"""Takes attempts from the queue, supervises their trainers, and publishes what they do."""
