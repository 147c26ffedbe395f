"""Our SASRec and TIGER on Amazon Beauty beside the figures that others have published for it."""
