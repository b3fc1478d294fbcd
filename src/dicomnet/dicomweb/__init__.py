"""DICOMweb as a user agent (PS3.18): what is asked and answered over HTTP, as generators without a socket."""
