"""The heavy half: models, tokens and gradients. Only `train` imports it, and only inside its functions.

`plan` and `interface` are light: the order of examples and the seam between the halves are tested without torch.
"""
