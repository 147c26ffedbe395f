"""Generated data in the exact raw formats of the public datasets, at any scale, from a seed.

Always to be called generated data: no number measured on it says anything about Amazon or KuaiSAR.
"""

from gensr_model.data.synthetic.amazon import write_amazon

__all__ = ["write_amazon"]
