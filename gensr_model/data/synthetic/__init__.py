"""Generated data in the exact raw formats of the public datasets, at any scale, from a seed.

Always call them generated data: no figure measured on them holds for Amazon or KuaiSAR.
"""

from gensr_model.data.synthetic.amazon_writer import write_amazon
from gensr_model.data.synthetic.kuaisar_writer import write_kuaisar

__all__ = ["write_amazon", "write_kuaisar"]
