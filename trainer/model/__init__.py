"""DeepLabV3+ (Chen et al. 2018, arXiv:1802.02611) in pure Keras 3: runs on every Keras backend.

Read `deeplabv3plus.py` first; every box of the paper's figure 2 is a function of its name.
"""
