"""The node's face to the web: DICOMweb (PS3.18) over the same query, intake and storage as its DIMSE services."""
