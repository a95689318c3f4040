"""What an application deploys: numpy, onnxruntime and tokenizers, and nothing else of this project but its errors."""
