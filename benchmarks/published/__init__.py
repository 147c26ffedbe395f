"""Our SASRec and TIGER on Amazon Beauty beside published figures."""
