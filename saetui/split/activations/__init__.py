"""What an SAE is trained on: filtered activations, kept, shared and shuffled."""
