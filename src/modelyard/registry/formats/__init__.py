"""What files are made of: where their tensors lie, and which kinds of files a version may hold.

Pure reading: nothing here loads a model, unpickles, or reaches beyond the file system. Start in ``spans.py`` (tensors)
and ``scan.py`` (what may be in a version).
"""
