"""How the demo model is made: its text encoder, autoencoder and network, and their trainers."""
