"""Groups, attributes and arrays of an HDF5 file, as Keras writes them.

The HDF5 library ends the process on some damaged files, and computes for minutes on others.  This reader knows the
part of the format (HDF5 File Format Specification, version 3.0) that h5py writes by default, and the newer headers;
it follows no link to another file or place, and everything that it looks at has to lie within the file.
"""

from .file import SIGNATURE, File
from .file_bytes import Unknown
from .node import Node

__all__ = ["SIGNATURE", "File", "Node", "Unknown"]
