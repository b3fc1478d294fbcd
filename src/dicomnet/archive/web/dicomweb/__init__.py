"""The services of DICOMweb (PS3.18): what is searched, retrieved, rendered, stored and removed."""
