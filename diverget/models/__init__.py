"""The models under assessment: from training to probabilities. Importing this imports no TensorFlow.

What a model is:   model (the protocol; predict_pair), preprocessing (raw patch -> prepared input)
Running one:       deployed (load, by the file's suffix)
                   tflite, runtime (one interpreter), graph (what a .tflite file says of itself)
                   onnx, onnx_session, onnx_graph (the same of an .onnx file), onnx_file, onnx_ends, onnx_coverage
What is in it:     coverage (the share that is quantised), keras_file and saved_model (read without executing them),
                   layers (what a pair shares inside)
Making one:        zoo (architectures), training, quantise (Keras -> .tflite), child (heavy work in a process apart)
                   compress (pruning, clustering, quantisation-aware training, distillation: before conversion)
                   quantisations (the ways, and which a network can take), lowering, lowered_layers (Conv3D as Conv2D)
"""
