"""The backward pass: from gradients of outputs to those of inputs, states and parameters."""
