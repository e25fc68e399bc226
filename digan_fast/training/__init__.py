"""Adversarial training of INR video generators: losses, augmentation, the loop."""
