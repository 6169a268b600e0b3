"""How the default avatar was made: speech corpus, two nets, one ONNX file. Needs the extra `train`."""
