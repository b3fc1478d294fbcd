"""From an object and the number of a frame to a picture; in processes apart, for decoders meet strangers' bytes."""
