// All row kernels and their table, over the vector type and the ISA's name of the file that includes this.

#include "kernels/exp.inl"
#include "kernels/strided.inl"

#include "kernels/activate.inl"
#include "kernels/normalize.inl"

constexpr RowKernels table = {isa, normalize, activate};
