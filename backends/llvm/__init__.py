"""Loop IR to LLVM IR to native code for the host CPU, through llvmlite."""
